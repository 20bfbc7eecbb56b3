import math
from dataclasses import replace

import pytest

from judging.config import VerifierConfig
from judging.judge import Item
from judging.verifier import Verifier

MODULE = """
import asyncio

import numpy as np

WORD = "four"
seen = []

def length(prompts, completions, **columns):
    return [float(len(completion[0]["content"])) for completion in completions]

def record(**arguments):
    seen.append(arguments)
    return [0.0] * len(arguments["prompts"])

def some_none(completions, **columns):
    return [None, float("nan"), float("inf"), 1, True, np.float32(0.5)][: len(completions)]

def fails_on_x(completions, **columns):
    return [1 / ("x" not in completion[0]["content"]) for completion in completions]

def fails_on_many(completions, **columns):
    if len(completions) > 1:
        raise KeyError("batch")
    return [0.0]

def one_short(completions, **columns):
    return [0.0] * (len(completions) - 1)

def words(completions, **columns):
    return ["good"] * len(completions)

def generator(completions, **columns):
    yield from completions

class Shorter:
    async def __call__(self, completions, **columns):
        await asyncio.sleep(0)
        return [-float(len(completion[0]["content"])) for completion in completions]

shorter = Shorter()
loops = set()

async def later(completions, **columns):
    loops.add(asyncio.get_running_loop())
    await asyncio.sleep(0.001)
    return [float(completion[0]["content"] == "four") or None for completion in completions]

async def later_fails(completions, **columns):
    return [1 / ("x" not in completion[0]["content"]) for completion in completions]

def as_in_the_docs(prompts, completions, completion_ids, trainer_state, log_extra, log_metric, level, **kwargs):
    log_extra("level", level)
    log_metric("mean_length", sum(map(len, completion_ids)) / len(completion_ids))
    assert trainer_state is None
    return [float(len(ids)) for ids in completion_ids]

def overwrites(prompts, completions, **columns):
    for prompt in prompts:
        prompt[0]["content"] = "changed"
        prompt.append({})
    return [0.0] * len(prompts)

def pairs_of_numbers(completions, **columns):
    return [np.zeros(2)] * len(completions)

def huge(completions, **columns):
    return [10**400] * len(completions)
"""


@pytest.fixture
def checks(tmp_path, monkeypatch):
    (tmp_path / "user_checks.py").write_text(MODULE)
    (tmp_path / "user_broken.py").write_text("import a_module_that_nobody_has\n")
    (tmp_path / "user_wrong.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "user_checks"
    import sys

    sys.modules.pop("user_checks", None)


def item(text, **columns):
    messages = [{"role": "user", "content": "What is two plus two?"}]
    return Item(f"c-{text}", "p", messages, text, "4", columns)


def score(path, items):
    with Verifier(VerifierConfig(kind="verifier", function=path)) as judge:
        verdicts = dict(judge.score(enumerate(items)))
    return [verdicts[row] for row in range(len(items))]


def test_function_scores_each_row(checks):
    assert [v.score for v in score("user_checks:length", [item("a"), item("four")])] == [1.0, 4.0]


def test_function_gets_conversational_rows_and_columns_as_lists(checks):
    import user_checks

    score("user_checks:record", [item("a", title="The Red Door"), item("b", level=2)])
    (call,) = user_checks.seen
    assert call.pop("log_extra")("name", [1, 2]) is None
    assert call.pop("log_metric")("name", 1.0) is None
    assert [call] == [
        {
            "trainer_state": None,
            "prompts": [[{"role": "user", "content": "What is two plus two?"}]] * 2,
            "completions": [[{"role": "assistant", "content": "a"}], [{"role": "assistant", "content": "b"}]],
            "reference_answer": ["4", "4"],
            "title": ["The Red Door", None],
            "level": [None, 2],
        }
    ]


def test_source_columns_cannot_hide_prompts_and_completions(checks):
    assert score("user_checks:length", [item("four", completions="old", prompts="old")])[0].score == 4.0


def test_source_columns_that_trl_leaves_out_are_left_out(checks):
    import user_checks

    score("user_checks:record", [item("a", prompt="old", completion="old", completion_ids=[1])])
    assert {"prompt", "completion", "completion_ids"} & set(user_checks.seen[0]) == set()


def test_function_with_every_argument_of_trl_works_as_it_is(checks):
    items = [replace(item(text, level=1), token_ids=list(range(n))) for text, n in [("a", 3), ("b", 5)]]
    assert [verdict.score for verdict in score("user_checks:as_in_the_docs", items)] == [3.0, 5.0]


def test_token_ids_are_passed_only_if_every_row_has_them(checks):
    import user_checks

    score("user_checks:record", [item("a"), replace(item("b"), token_ids=[1])])
    assert "completion_ids" not in user_checks.seen[0]


def test_async_function_is_awaited_in_one_loop(checks, monkeypatch):
    import user_checks

    monkeypatch.setattr("judging.verifier._BATCH", 2)
    verdicts = score("user_checks:later", [item(text) for text in ("four", "five", "four")])
    assert [(v.score, v.reason) for v in verdicts] == [(1.0, None), (None, "no_verdict"), (1.0, None)]
    assert len(user_checks.loops) == 1


def test_object_with_an_async_call_is_awaited(checks):
    assert [v.score for v in score("user_checks:shorter", [item("a"), item("four")])] == [-1.0, -4.0]


def test_exception_of_an_async_function_names_the_row(checks):
    with pytest.raises(RuntimeError, match=r"later_fails raised ZeroDivisionError.*candidate c-x alone"):
        score("user_checks:later_fails", [item("a"), item("x")])


def test_function_that_changes_its_arguments_changes_nobody_elses(checks):
    one = item("a")
    score("user_checks:overwrites", [one])
    assert one.messages == [{"role": "user", "content": "What is two plus two?"}]


@pytest.mark.slow
def test_functions_that_trl_ships_work_as_they_are():
    thinks = [item("<think>2 + 2</think>\n4"), item("4")]
    assert [v.score for v in score("trl.rewards:think_format_reward", thinks)] == [1.0, 0.0]
    boxed = [item(text, solution="4") for text in (r"\boxed{4}", r"\boxed{5}")]
    assert [v.score for v in score("trl.rewards:accuracy_reward", boxed)] == [1.0, 0.0]


def test_none_and_numbers_that_are_not_finite_stay_unscored(checks):
    verdicts = score("user_checks:some_none", [item(text) for text in "abcdef"])
    assert [v.reason for v in verdicts[:3]] == ["no_verdict", "not_finite", "not_finite"]
    assert [v.score for v in verdicts[3:]] == [1.0, 1.0, 0.5]
    assert all(v.score is None or math.isfinite(v.score) for v in verdicts)


def test_rows_are_given_in_batches(checks, monkeypatch):
    import user_checks

    monkeypatch.setattr("judging.verifier._BATCH", 2)
    assert len(score("user_checks:record", [item(text) for text in "abc"])) == 3
    assert [len(call["prompts"]) for call in user_checks.seen] == [2, 1]


def test_exception_of_the_function_stops_with_its_name_and_the_row(checks):
    with pytest.raises(RuntimeError, match=r"user_checks:fails_on_x raised ZeroDivisionError.*candidate c-x alone"):
        score("user_checks:fails_on_x", [item("a"), item("x"), item("b")])


def test_exception_that_needs_a_batch_names_the_batch(checks):
    with pytest.raises(RuntimeError, match="on 2 candidates from c-a on, but on none of them alone"):
        score("user_checks:fails_on_many", [item("a"), item("b")])


def test_wrong_number_of_results_is_an_error(checks):
    with pytest.raises(RuntimeError, match="user_checks:one_short was given 2 rows and returned 1"):
        score("user_checks:one_short", [item("a"), item("b")])


def test_result_without_a_length_is_an_error(checks):
    with pytest.raises(RuntimeError, match="was given 1 rows and returned generator"):
        score("user_checks:generator", [item("a")])


@pytest.mark.parametrize(("name", "shown"), [("words", "'good'"), ("pairs_of_numbers", "array"), ("huge", "1000")])
def test_result_that_is_no_number_is_an_error(checks, name, shown):
    with pytest.raises(RuntimeError, match=f"returned {shown}.* for candidate c-a"):
        score(f"user_checks:{name}", [item("a")])


@pytest.mark.parametrize("path", ["user_checks", "user_checks:", ":length", ".user_checks:length", "a..b:f", "a:f()"])
def test_function_that_is_no_import_path_is_refused_with_the_recipe(path):
    with pytest.raises(ValueError, match=r"function\n.*must read package\.module:function"):
        VerifierConfig(kind="verifier", function=path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module:f", "'no_such_module' cannot be imported"),
        ("user_broken:f", "'user_broken' cannot be imported .*a_module_that_nobody_has"),
        ("user_checks:nothing", "'user_checks' has no 'nothing'"),
        ("user_checks:WORD", "must be a function, got str 'WORD'"),
        ("user_checks:Shorter", "must be a function, got type 'Shorter'"),
        ("user_wrong:f", "'user_wrong' raised ZeroDivisionError: division by zero"),
    ],
)
def test_bad_import_path_is_an_error_that_names_the_field(checks, path, message):
    with pytest.raises(ValueError, match=rf"^function .*{message}"):
        score(path, [])
