"""The flat batch: nothing lost, nothing twice."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.prefix.plan import Group, plan_batch

ids = st.lists(st.integers(0, 3), min_size=1, max_size=5)  # few words: equal prompts and answers are common
rows = st.lists(st.tuples(ids, ids), min_size=1, max_size=8)


@given(rows)
def test_unpacking_gives_every_answer_token_back_in_its_place(pairs):
    prompts, answers = zip(*pairs, strict=True)
    plan = plan_batch(prompts, answers)
    found = plan.to_rows(plan.labels + 1) - 1
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    assert plan.shape == (len(pairs), width - 1)
    for row, (prompt, answer) in enumerate(pairs):
        start = len(prompt) - 1
        expected = [-1] * start + answer
        assert found[row].tolist() == expected + [-1] * (width - 1 - len(expected))


@given(rows)
def test_each_scored_position_sees_its_prompt_and_what_stands_before_in_its_answer(pairs):
    prompts, answers = zip(*pairs, strict=True)
    plan = plan_batch(prompts, answers)
    seen = visible(plan)
    words, positions = plan.input_ids[0].numpy(), plan.position_ids[0].numpy()
    contexts = {
        (row, step): [*prompt, *answer[:step]]
        for row, (prompt, answer) in enumerate(pairs)
        for step in range(len(answer))
    }
    cells = dict(zip(plan.cells.tolist(), plan.sources.tolist(), strict=True))
    for (row, step), context in contexts.items():
        source = cells[row * plan.shape[1] + len(prompts[row]) - 1 + step]
        keys = seen[int(plan.scored[source])]
        assert words[keys].tolist() == context
        assert positions[keys].tolist() == list(range(len(context)))
    assert len(cells) == len(contexts)


@given(rows)
def test_no_prompt_and_no_answer_to_it_stands_twice(pairs):
    prompts, answers = zip(*pairs, strict=True)
    plan = plan_batch(prompts, answers)
    distinct = {(tuple(prompt), tuple(answer)) for prompt, answer in pairs}
    n_prompt = sum(len(prompt) for prompt in {prompt for prompt, _ in distinct})
    assert plan.input_ids.shape[1] == n_prompt + sum(len(answer) - 1 for _, answer in distinct)
    assert len(plan.labels) == sum(len(answer) for _, answer in distinct)


def visible(plan):
    """The keys that each flat position sees, from the indices of the call for uneven lengths."""
    at, found = plan.gathered, {}
    bounds = zip(at.query_starts[:-1], at.query_starts[1:], at.key_starts[:-1], at.key_starts[1:], strict=True)
    for query, query_end, key, key_end in (map(int, one) for one in bounds):
        for number in range(query, query_end):
            found[number] = at.keys[key : key_end - (query_end - 1 - number)].numpy()  # lower right
    return found


def test_a_group_counts_inputs_and_leaves_answers_of_one_token_out():
    plan = plan_batch([[1, 2], [1, 2], [1, 2]], [[3, 4, 5], [6], [3, 4, 5]])
    assert plan.groups == (Group(2, (2,)),)
    assert plan.input_ids.tolist() == [[1, 2, 3, 4]]
    assert plan.position_ids.tolist() == [[0, 1, 2, 3]]
    assert plan.scored.tolist() == [1, 2, 3, 1]
    assert plan.labels.tolist() == [3, 4, 5, 6]


def test_an_empty_answer_raises():
    with pytest.raises(ValueError, match="row 1 has 2 prompt and 0 answer tokens"):
        plan_batch([[1, 2], [1, 2]], [[3], []])


def test_a_plan_moves_as_accelerate_moves_batches():
    from accelerate.utils import send_to_device

    batch = send_to_device({"prefix_plan": plan_batch([[1, 2]], [[3, 4]])}, torch.device("meta"), non_blocking=True)
    assert {batch["prefix_plan"].labels.device.type, batch["prefix_plan"].input_ids.device.type} == {"meta"}
    assert batch["prefix_plan"].groups == (Group(2, (1,)),)


def test_rows_of_arrays_and_lists_are_the_same():
    one, other = plan_batch([np.array([1, 2])], [np.array([3])]), plan_batch([[1, 2]], [[3]])
    assert one.input_ids.tolist() == other.input_ids.tolist()
