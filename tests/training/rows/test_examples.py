"""From pairs to token ids and drops."""

import copy
import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.policies.policy import PolicyLimits, read_limits
from training.rows.examples import build_examples

EOS = 2
USER = 3
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|user|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Ends a turn with a special token that is not EOS, as Gemma's and Phi's do."""
FOREIGN = {"chosen_tokenizer": "theirs", "rejected_tokenizer": "theirs", "rejected_finish_reason": "length"}
LIMITS = PolicyLimits(max_positions=256, stop_ids=frozenset({EOS}))


@pytest.fixture(scope="module")
def build(tokenizer, rendering, table_of):
    def run(rows, max_length=None, rendering=rendering, template=None, limits=LIMITS):
        used = copy.deepcopy(tokenizer)
        used.chat_template = template or tokenizer.chat_template
        return build_examples(table_of(rows), used, rendering, limits, max_length)

    return run


def drops_of(examples):
    return [
        (row["id"], row["step"], row["reason"], row["value"], row["threshold"]) for row in examples.drops.to_pylist()
    ]


def test_the_generators_ids_are_trained_on(build, pair_row, tokenizer):
    split = [ord("a") - ord("!") + 6, *tokenizer("the", add_special_tokens=False)["input_ids"], EOS]
    example = build([pair_row(1, chosen="other text", chosen_token_ids=split, chosen_logprob_sum=-7.5)]).kept[0]
    assert example.chosen.token_ids == split
    assert example.chosen.stored_logprob == -7.5
    assert not example.chosen.retokenized


def test_the_prompt_is_rendered_with_the_generation_prompt(build, pair_row, tokenizer):
    example = build([pair_row(1)]).kept[0]
    assert tokenizer.decode(example.prompt_ids) == "<|bos|><|user|>What is 1?<|assistant|>"


@pytest.mark.parametrize(("finish_reason", "end"), [("stop", [EOS]), (None, [EOS]), ("length", [])])
def test_text_without_ids_is_tokenised_once_and_marked(build, pair_row, tokenizer, finish_reason, end):
    row = pair_row(
        1, rejected="It is four.", rejected_token_ids=None, rejected_tokenizer=None,
        rejected_finish_reason=finish_reason, rejected_logprob_sum=-3.0,
    )  # fmt: skip
    rejected = build([row]).kept[0].rejected
    assert rejected.token_ids == tokenizer("It is four.", add_special_tokens=False)["input_ids"] + end
    assert rejected.retokenized
    assert rejected.stored_logprob is None


@pytest.mark.parametrize(("stop_ids", "end"), [({EOS, USER}, USER), ({EOS}, EOS)])
def test_tokenised_text_ends_in_the_stop_token_that_the_template_writes(build, pair_row, stop_ids, end):
    limits = dataclasses.replace(LIMITS, stop_ids=frozenset(stop_ids))
    ids = build([pair_row(1, **FOREIGN)], template=TEMPLATE, limits=limits).kept[0].chosen.token_ids
    assert ids[-1] == end
    assert not stop_ids & set(ids[:-1])


def test_a_template_that_refuses_every_answer_leaves_eos(build, pair_row):
    template = "{% if messages[1] %}{{ raise_exception('One turn') }}{% endif %}" + TEMPLATE
    assert build([pair_row(1, **FOREIGN)], template=template).kept[0].chosen.token_ids[-1] == EOS


def test_ids_of_another_tokenizer_are_not_trained_on(build, pair_row):
    example = build([pair_row(1, chosen="four", chosen_token_ids=[300, 301, EOS], chosen_tokenizer="theirs")]).kept[0]
    assert example.chosen.retokenized
    assert example.chosen.token_ids != [300, 301, EOS]


def test_a_stop_token_written_in_an_imported_text_stays_text(build, pair_row):
    row = pair_row(1, chosen="four<|eos|> more", chosen_token_ids=None, chosen_tokenizer=None)
    ids = build([row]).kept[0].chosen.token_ids
    assert ids.count(EOS) == 1
    assert ids[-1] == EOS


def test_too_long_goes_to_the_ledger(build, pair_row):
    rows = [
        pair_row(1, rejected="word\n" * 300, rejected_token_ids=[50] * 40, rejected_finish_reason="length"),
        pair_row(2),
    ]
    examples = build(rows, max_length=40)
    prompt = len(examples.kept[0].prompt_ids)
    assert drops_of(examples) == [("pair1", "max_length", "too_long", prompt + 40, 40)]
    drop = examples.drops.to_pylist()[0]
    assert (drop["kind"], drop["stage"], drop["context"]) == ("pair", "training", ("word " * 300)[:200])


def test_a_prompt_that_the_template_refuses_goes_to_the_ledger(build, pair_row):
    refused = pair_row(1, messages=[{"role": "user", "content": "No\nway."}])
    template = "{% if 'way' in messages[0]['content'] %}{{ raise_exception('No way') }}{% endif %}" + TEMPLATE
    examples = build([refused, pair_row(2, **FOREIGN)], template=template)
    assert [example.pair_id for example in examples.kept] == ["pair2"]
    assert drops_of(examples) == [("pair1", "tokenization", "template_refused", None, None)]
    assert examples.drops["context"].to_pylist() == ["No way."]


def test_a_pair_of_just_the_longest_length_is_kept(build, pair_row):
    prompt = len(build([pair_row(1)]).kept[0].prompt_ids)
    row = pair_row(1, chosen_token_ids=[50] * (256 - prompt), chosen_finish_reason="length")
    assert len(build([row]).kept) == 1
    assert drops_of(build([row | {"chosen_token_ids": [50] * (257 - prompt)}]))[0][3:] == (257, 256)


@pytest.mark.parametrize("ids", [[], [EOS]])
def test_an_empty_answer_goes_to_the_ledger(build, pair_row, ids):
    row = pair_row(1, chosen="", chosen_token_ids=ids)
    assert drops_of(build([row])) == [("pair1", "tokenization", "empty_completion", 0, 1)]


def test_an_empty_text_without_ids_goes_to_the_ledger(build, pair_row):
    row = pair_row(1, chosen="", chosen_token_ids=None, chosen_tokenizer=None)
    assert drops_of(build([row])) == [("pair1", "tokenization", "empty_completion", 0, 1)]


def test_another_prompt_hash_raises(build, pair_row):
    with pytest.raises(ValueError, match="pair pair1: its prompt renders to other token ids"):
        build([pair_row(1, prompt_hash="0" * 24)])


def test_the_hash_of_a_foreign_tokenizers_prompt_is_not_compared(build, pair_row):
    foreign = {"chosen_tokenizer": "theirs", "rejected_tokenizer": "theirs", "prompt_hash": "0" * 24}
    assert len(build([pair_row(1, **foreign)]).kept) == 1


def test_a_double_stop_token_raises(build, pair_row):
    with pytest.raises(ValueError, match="pair pair1: its chosen answer of 4 tokens has stop tokens at positions"):
        build([pair_row(1, chosen_token_ids=[50, 51, EOS, EOS])])


def test_a_renderer_that_doubles_bos_raises(build, pair_row, rendering):
    doubling = dataclasses.replace(rendering, render_prompt=lambda *a: [1, *rendering.render_prompt(*a)])
    with pytest.raises(ValueError, match="pair pair1: its prompt opens with two BOS tokens"):
        build([pair_row(1)], rendering=doubling)


def test_a_pair_id_that_comes_twice_raises(build, pair_row):
    with pytest.raises(ValueError, match="pair pair1 stands in the table more than once"):
        build([pair_row(1), pair_row(1)])


def test_a_max_length_above_the_models_positions_raises(build, pair_row):
    with pytest.raises(ValueError, match=r"training\.max_length is 512, but the model has 256 positions"):
        build([pair_row(1)], max_length=512)


def test_limits_are_read_without_weights(start, tokenizer):
    assert read_limits(start, tokenizer) == LIMITS


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8))
def test_every_pair_is_kept_or_in_the_ledger(build, pair_row, lengths):
    rows = [
        pair_row(i, chosen_token_ids=[50] * a, rejected_token_ids=[51] * b) | {
            "chosen_finish_reason": "length", "rejected_finish_reason": "length"
        }
        for i, (a, b) in enumerate(lengths)
    ]  # fmt: skip
    examples = build(rows, max_length=32)
    kept, dropped = [example.pair_id for example in examples.kept], examples.drops["id"].to_pylist()
    assert sorted(kept + dropped) == sorted(row["pair_id"] for row in rows)
    assert all(len(e.prompt_ids) + max(len(e.chosen.token_ids), len(e.rejected.token_ids)) <= 32 for e in examples.kept)
