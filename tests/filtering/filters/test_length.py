import pyarrow as pa
import pytest

from filtering.filtering import filter_pairs
from filtering.filters.length import LengthConfig, Limits, measure
from judging.schema import PAIRS


def pair(chosen="a good answer", rejected="something else", **fields):
    return {"prompt_id": "p", "messages": [], "chosen": chosen, "rejected": rejected, **fields}


def table(*records):
    numbered = [{"pair_id": str(row), **record} for row, record in enumerate(records)]
    return pa.Table.from_pylist(numbered, schema=PAIRS)


def found(records, **fields):
    drops = filter_pairs(table(*records), [LengthConfig(name="length", **fields)]).drops
    return {row["id"]: (row["reason"], row["value"], row["threshold"]) for row in drops.to_pylist()}


def test_sides_have_limits_of_their_own():
    records = [pair("x" * 49, "y" * 20), pair("x" * 50, "y" * 19), pair("x" * 50, "y" * 20), pair("x" * 50, "y" * 99)]
    assert found(records, chosen=Limits(min=50), rejected=Limits(min=20, max=60)) == {
        "0": ("chosen_too_short", 49, 50),
        "1": ("rejected_too_short", 19, 20),
        "3": ("rejected_too_long", 99, 60),
    }


def test_words_are_what_stands_between_white_space():
    facts = measure(
        table(pair("one  two\nthree ", " "), pair("שלום עולם", "😀")), LengthConfig(name="length", unit="words")
    )
    assert facts["chosen_words"].to_pylist() == [3, 2]
    assert facts["rejected_words"].to_pylist() == [0, 1]


def test_tokens_are_the_generator_s_and_pairs_without_ids_are_named():
    records = [
        pair(chosen_token_ids=[1, 2, 3, 4], rejected_token_ids=[1]),
        pair(chosen_token_ids=[1, 2], rejected_token_ids=[1]),
        pair(chosen_token_ids=[1, 2]),
        pair(),
    ]
    assert found(records, unit="tokens", max_ratio=3) == {
        "0": ("length_ratio", 4, 3),
        "2": ("no_token_ids", None, None),
        "3": ("no_token_ids", None, None),
    }


def test_empty_text_is_too_short_by_default_and_the_ratio_band_holds_both_ways():
    records = [pair("", "full"), pair("x", "y" * 4), pair("x" * 4, "y"), pair("x" * 3, "y")]
    assert found(records, max_ratio=3) == {
        "0": ("too_short", 0, 1),
        "1": ("length_ratio", 4, 3),
        "2": ("length_ratio", 4, 3),
    }


def test_limits_that_nothing_fits_are_an_error():
    with pytest.raises(ValueError, match="max 3 is below min 5"):
        Limits(min=5, max=3)
    with pytest.raises(ValueError, match="max_ratio"):
        LengthConfig(name="length", max_ratio=1.0)
