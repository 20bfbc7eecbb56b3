from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filtering.formats.catalogue import FORMATS
from filtering.formats.detecting import detect_format, force_format
from judging.schema import PAIRS

FILE = Path("pairs.jsonl")
PAIR = dict.fromkeys(PAIRS.names) | {"messages": [{"role": "user", "content": "Why?"}], "chosen": "A", "rejected": "B"}
HH = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}


def detect(*rows):
    return detect_format(FILE, list(dict.fromkeys(name for row in rows for name in row)), rows).format.name


@pytest.mark.parametrize("name", list(FORMATS))
@given(
    st.lists(st.tuples(st.text("abc", min_size=1), st.text("ABC"), st.text("DEF", min_size=1)), min_size=1, max_size=5)
)
def test_the_format_that_was_written_is_found(name, texts):
    rows = []
    for question, chosen, rejected in texts:
        pair = PAIR | {
            "messages": [{"role": "user", "content": question + "?"}],
            "chosen": chosen,
            "rejected": rejected,
        }
        rows.append(FORMATS[name].write(pair))
    assert detect(*rows) == name


@pytest.mark.parametrize("name", list(FORMATS))
def test_rows_with_nulls_say_nothing(name):
    row = FORMATS[name].write(PAIR)
    assert detect(row, row | {"chosen": None}, *[row] * 3) == name


def test_a_prompt_that_also_begins_both_sides_is_not_guessed():
    row = {"prompt": "Why? ", "chosen": "Why? Because", "rejected": "Why? No"}
    with pytest.raises(ValueError, match=r"pairs.jsonl could be trl or trl_implicit .*--format, one of trl, trl_impl"):
        detect(row, row)
    assert detect(row, *[row | {"chosen": "Because"}] * 2) == "trl"


def test_hh_texts_beside_their_prompt_are_not_guessed():
    with pytest.raises(ValueError, match="could be trl or hh "):
        detect(HH | {"prompt": "\n\nHuman: a\n\nAssistant:"})
    assert detect(HH | {"prompt": "a"}) == "trl"


def test_a_few_odd_rows_do_not_hide_the_format():
    odd = {"chosen": "x", "rejected": "y"}
    assert detect(*[HH] * 19, odd) == "hh"
    with pytest.raises(ValueError, match="no format that is known"):
        detect(HH, odd)


def test_an_unknown_file_is_told_why_no_format_fits():
    with pytest.raises(ValueError, match="its columns are question, chosen, rejected") as error:
        detect({"question": "Why?", "chosen": "Because", "rejected": "No"})
    assert "trl: no column prompt" in str(error.value)
    assert "trl_implicit: row 1: chosen and rejected do not begin alike" in str(error.value)
    assert "trl_conversational_implicit: row 1: chosen is a text ('Because'), not a list of messages" in str(
        error.value
    )


def test_a_forced_format_has_to_fit():
    with pytest.raises(ValueError, match=r"format 'csv' is not known: use one of prefloop, trl,"):
        force_format(FILE, "csv", ["chosen"], [])
    with pytest.raises(ValueError, match=r"pairs.jsonl is no alpaca: it has no column instruction, its columns are"):
        force_format(FILE, "alpaca", ["chosen", "rejected"], [HH])
    with pytest.raises(ValueError, match=r"pairs.jsonl, row 1: chosen is not as hh has it \(no_turns\)"):
        force_format(FILE, "hh", ["chosen", "rejected"], [{"chosen": "a", "rejected": "b"}])


def test_a_forced_format_decides_where_two_fit():
    row = {"prompt": "Why? ", "chosen": "Why? Because", "rejected": "Why? No"}
    for name in ("trl", "trl_implicit"):
        assert force_format(FILE, name, list(row), [row]).format.name == name
    assert force_format(FILE, "trl_implicit", list(HH), [HH]).format.name == "trl_implicit"
