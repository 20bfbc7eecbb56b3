import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filtering.filtering import filter_pairs
from filtering.filters.identical import IdenticalConfig, measure
from judging.schema import PAIRS

CONFIG = IdenticalConfig(name="identical")


def pairs(*texts):
    records = [
        {"pair_id": str(row), "prompt_id": "p", "messages": [], "chosen": chosen, "rejected": rejected}
        for row, (chosen, rejected) in enumerate(texts)
    ]
    return pa.Table.from_pylist(records, schema=PAIRS)


def reason(chosen, rejected, config=CONFIG):
    found = filter_pairs(pairs((chosen, rejected)), [config]).drops["reason"].to_pylist()
    return found[0] if found else None


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [("", " \n"), ("a\u00a0b", "a b"), ("ﬁne", "fine"), ("e\u0301", "é"), ("x\u200b", "x"), ("x²", "x^2")],
)
def test_spaces_and_compatibility_forms_are_identical(chosen, rejected):
    assert reason(chosen, rejected) == reason(rejected, chosen) == "identical"


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("You’re welcome.", "You're welcome!"),
        ("**Bold** and _soft_ words", "bold and soft words"),
        ("# Title\n\n- one\n- two", "Title\n* one\n* two"),
        ("1) one\n2) two", "1. one\n2. two"),
        ("a\n---\nb", "a\nb"),
        ("“Hi,” he said", "Hi he said"),
        ("yes — no", "yes, no"),
        ("see [the page](http://a.org)", "see the page"),
        ("```python\nX = 1;\n```", "X = 1;"),
        ("Use `ls`", "Use ls"),
        ("5.", "5"),
        ("你好。", "你好"),
        ("Straße", "STRASSE"),
    ],
)
def test_marks_case_and_sentence_punctuation_are_form(chosen, rejected):
    assert reason(chosen, rejected) == reason(rejected, chosen) == "same_but_for_form"
    assert reason(chosen, rejected, IdenticalConfig(name="identical", form=False)) is None


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("5", "-5"), ("- 5", "5"), ("–5", "5"), ("3.5", "35"), (".5", "5"), ("1,000", "1000"), ("5!", "5"), ("5%", "5"),
        ("$5", "5"), ("x²", "x2"), ("2*3*4", "234"), ("2*(3+4)", "2*3+4"), ("C", "C++"), ("C#", "C"), (".NET", "NET"),
        ("f(x)", "fx"), ("snake_case_name", "snakecasename"), ("x", ""), ("...", ""), ("?", "!"), ("😀", "😂"),
        ("Ok 😀", "Ok"), ("1. Paris", "2. Paris"), ("two words", "twowords"), ("~~no~~ yes", "no yes"),
        ("[here](http://a.org)", "[here](http://b.org)"), ("```\nX = 1\n```", "```\nx = 1\n```"), ("`a.`", "`a`"),
    ],
)  # fmt: skip
def test_what_may_change_the_meaning_is_not_form(chosen, rejected):
    assert reason(chosen, rejected) is None
    assert reason(rejected, chosen) is None


def test_difference_behind_a_long_common_start_is_seen():
    start = "The same words again and again. " * 20
    assert reason(start + "Yes", start + "No") is None
    assert reason(start + "Yes.", start + "**yes**") == "same_but_for_form"


@pytest.mark.parametrize("unit", ["[", "_x ", "`", "- a\n", "!", "**", "[a]("])
def test_marks_without_end_are_read_in_bounded_time(unit):
    text = unit * 20_000
    assert reason(text + "end", text + "other end") is None


TEXT = st.text(alphabet="aB1 .,!-*_#`[]()\n\"'²é你。", max_size=12)


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), max_size=6), st.randoms(use_true_random=False))
def test_verdicts_hang_on_the_pair_alone_and_not_on_its_direction(texts, random):
    facts = measure(pairs(*texts), CONFIG).to_pylist()
    assert facts == [measure(pairs(one), CONFIG).to_pylist()[0] for one in texts]
    assert facts == measure(pairs(*((rejected, chosen) for chosen, rejected in texts)), CONFIG).to_pylist()


@given(TEXT)
def test_every_text_is_identical_to_itself_in_other_spaces(text):
    assert reason(text, f"\n {text} ") == "identical"
