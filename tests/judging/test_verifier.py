import math

import pytest

from judging.config import VerifierConfig
from judging.judge import Item
from judging.verifier import Verifier

MODULE = """
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

async def later(completions, **columns):
    return [0.0]
"""


@pytest.fixture
def checks(tmp_path, monkeypatch):
    (tmp_path / "user_checks.py").write_text(MODULE)
    (tmp_path / "user_broken.py").write_text("import a_module_that_nobody_has\n")
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
    assert user_checks.seen == [
        {
            "prompts": [[{"role": "user", "content": "What is two plus two?"}]] * 2,
            "completions": [[{"role": "assistant", "content": "a"}], [{"role": "assistant", "content": "b"}]],
            "reference_answer": ["4", "4"],
            "title": ["The Red Door", None],
            "level": [None, 2],
        }
    ]


def test_source_columns_cannot_hide_prompts_and_completions(checks):
    assert score("user_checks:length", [item("four", completions="old", prompts="old")])[0].score == 4.0


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


def test_result_that_is_no_number_is_an_error(checks):
    with pytest.raises(RuntimeError, match="returned 'good' for candidate c-a"):
        score("user_checks:words", [item("a")])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("user_checks.length", "must read package.module:function"),
        ("user_checks:", "must read package.module:function"),
        ("no_such_module:f", "'no_such_module' cannot be imported"),
        ("user_broken:f", "'user_broken' cannot be imported .*a_module_that_nobody_has"),
        ("user_checks:nothing", "'user_checks' has no 'nothing'"),
        ("user_checks:WORD", "must be a plain function, got str 'WORD'"),
        ("user_checks:later", "must be a plain function"),
    ],
)
def test_bad_import_path_is_an_error_that_names_the_field(checks, path, message):
    with pytest.raises(ValueError, match=rf"^function .*{message}"):
        score(path, [])
