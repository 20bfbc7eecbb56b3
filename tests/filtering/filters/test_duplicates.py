import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filtering.filtering import filter_pairs
from filtering.filters.duplicates import DuplicatesConfig
from judging.schema import PAIRS

DUPLICATES = DuplicatesConfig(name="duplicates")


def pair(pair_id, prompt="Why?", chosen="Because it is so.", rejected="No idea.", margin=1.0):
    messages = [{"role": "user", "content": prompt}]
    return {"pair_id": pair_id, "messages": messages, "chosen": chosen, "rejected": rejected, "margin": margin}


def run(*records):
    return filter_pairs(pa.Table.from_pylist(list(records), schema=PAIRS), [DUPLICATES])


def kept(*records):
    return run(*records).kept["pair_id"].to_pylist()


@pytest.mark.parametrize(
    "copy",
    [
        {},
        {"prompt": "WHY?"},
        {"prompt": "  Why?\n"},
        {"chosen": "because  it\n\nis so. "},
        {"chosen": "Because it\u00a0is so."},
        {"rejected": "NO IDEA.", "prompt": "why?"},
    ],
)
def test_copy_is_found_whatever_its_case_and_white_space(copy):
    tables = run(pair("a", **copy, margin=0.5), pair("b"))
    assert tables.kept["pair_id"].to_pylist() == ["b"]
    drop = tables.drops.to_pylist()[0]
    assert (drop["id"], drop["step"], drop["reason"], drop["value"]) == ("a", "duplicates", "duplicate_pair", None)


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "Why not?"},
        {"chosen": "Because it isso."},
        {"rejected": "No idea"},
        {"chosen": "No idea.", "rejected": "Because it is so."},
    ],
)
def test_other_words_make_another_pair(other):
    assert kept(pair("a"), pair("b", **other)) == ["a", "b"]


def test_words_that_move_from_one_text_to_the_next_make_another_pair():
    assert kept(pair("a", chosen="x y", rejected="z"), pair("b", chosen="x", rejected="y z")) == ["a", "b"]


@settings(deadline=None)
@given(
    st.lists(st.tuples(*[st.sampled_from(["a b", "A  b", "ab", "É", "e\u0301"])] * 3, st.integers(0, 2))),
    st.randoms(use_true_random=False),
)
def test_best_of_each_group_stays_whatever_the_order(rows, random):
    def form(row):
        return tuple({"A  b": "a b", "e\u0301": "É"}.get(text, text) for text in row[:3])

    records = [pair(f"id{at}", *row[:3], margin=row[3]) for at, row in enumerate(rows)]
    survivors = kept(*records)
    assert sorted(kept(*random.sample(records, len(records)))) == sorted(survivors)
    best = {form(row): max(one[3] for one in rows if form(one) == form(row)) for row in rows}
    rows_kept = [rows[int(one[2:])] for one in survivors]
    assert sorted((form(row), row[3]) for row in rows_kept) == sorted(best.items())
