import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filtering.config import FilteringConfig
from filtering.filtering import Split, check_conservation, filter_pairs, filter_parts
from filtering.filters.duplicates import DuplicatesConfig
from filtering.filters.identical import IdenticalConfig
from filtering.filters.length import LengthConfig
from filtering.filters.similarity import SimilarityConfig
from filtering.filters.truncated import TruncatedConfig
from filtering.parts import list_parts
from generation.schema import DROPS
from judging.schema import PAIRS

IDENTICAL = IdenticalConfig(name="identical")
DUPLICATES = DuplicatesConfig(name="duplicates")


def pair(pair_id, chosen="a good answer", rejected="something else", **fields):
    messages = [{"role": "user", "content": fields.get("prompt_id", "p")}]
    return {
        "pair_id": pair_id,
        "prompt_id": "p",
        "messages": messages,
        "chosen": chosen,
        "rejected": rejected,
        "margin": 1.0,
        **fields,
    }


def pairs(*records):
    return pa.Table.from_pylist(list(records), schema=PAIRS)


def kept(tables):
    return tables.kept["pair_id"].to_pylist()


def counts(tables):
    return [(step.step, step.n_in, step.n_dropped) for step in tables.funnel]


def reasons(tables):
    return {row["id"]: row["reason"] for row in tables.drops.to_pylist()}


def test_no_filters_keep_everything():
    table = pairs(pair("a"), pair("b"))
    tables = filter_pairs(table, [])
    assert tables.kept.equals(table)
    assert (len(tables.drops), tables.drops.schema, tables.funnel) == (0, DROPS, [])


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"chosen": None}, "pair 2 has null in place of chosen"),
        ({"messages": None}, "pair 2 has null in place of messages"),
        ({"pair_id": None}, "pair 2 has null in place of pair_id"),
        ({"messages": [{"role": "user", "content": None}]}, "pair 2 has a message with null in place of its content"),
    ],
)
def test_null_in_place_of_a_text_names_row_and_column(tmp_path, field, said):
    table = pairs(pair("a"), pair("b") | field)
    with pytest.raises(ValueError, match=f"^{said}"):
        filter_pairs(table, FilteringConfig().chosen())
    pq.write_table(table, tmp_path / "pairs.parquet")
    with pytest.raises(ValueError, match=rf"pairs\.parquet, row group 0: {said}"):
        filter_parts(list_parts([tmp_path / "pairs.parquet"]), FilteringConfig().chosen(), tmp_path / "facts")


def test_no_pairs_pass_through_every_filter():
    tables = filter_pairs(pairs(), FilteringConfig().chosen())
    assert (tables.kept.schema, len(tables.kept), len(tables.drops)) == (PAIRS, 0, 0)
    assert [step.n_in for step in tables.funnel] == [0] * len(FilteringConfig().chosen())


def test_kept_pairs_have_all_columns_in_their_old_order():
    table = pairs(pair("a", chosen_token_ids=[1, 2]), pair("b", "same", "same"), pair("c"))
    tables = filter_pairs(table, [IDENTICAL])
    assert tables.kept.equals(pa.concat_tables([table.slice(0, 1), table.slice(2, 1)]))


def test_ledger_says_what_was_dropped_where_and_why():
    table = pairs(pair("a", "x" * 300, "y" * 100))
    tables = filter_pairs(table, [LengthConfig(name="length", max_ratio=2.0)])
    assert tables.drops.to_pylist() == [
        {
            "kind": "pair", "id": "a", "stage": "filtering", "step": "length", "reason": "length_ratio", "value": 3.0,
            "threshold": 2.0, "context": "x" * 200,
        }
    ]  # fmt: skip
    assert tables.drops.schema == DROPS


def test_context_stands_on_one_line():
    tables = filter_pairs(pairs(pair("a", "one\ntwo\n", "one\ntwo\n")), [IDENTICAL])
    assert tables.drops["context"].to_pylist() == ["one two "]


def test_pair_is_dropped_by_the_first_filter_that_objects():
    table = pairs(pair("a", "same", "same"), pair("b", "x", "a longer one"), pair("c"))
    tables = filter_pairs(table, [LengthConfig(name="length", min_chars=5), IDENTICAL])
    assert reasons(tables) == {"a": "too_short", "b": "too_short"}
    assert counts(tables) == [("length", 3, 2), ("identical", 1, 0)]
    assert reasons(filter_pairs(table, [IDENTICAL, LengthConfig(name="length", min_chars=5)])) == {
        "a": "identical",
        "b": "too_short",
    }


def test_pair_id_that_stands_twice_is_an_error():
    with pytest.raises(ValueError, match="pairs 1 and 2 have the same pair_id 'a'"):
        filter_pairs(pairs(pair("a"), pair("a")), [])


def test_conservation_check_notices_a_lost_and_a_doubled_pair():
    table = pairs(pair("a"), pair("b", "same", "same"))
    good = filter_pairs(table, [IDENTICAL])
    with pytest.raises(RuntimeError, match=r"lost or doubled pairs: 2 in, 1 kept \+ 0 dropped"):
        check_conservation(Split(table, good.kept, DROPS.empty_table()))
    with pytest.raises(RuntimeError, match=r"2 in, 2 kept \+ 1 dropped, 2 of them distinct"):
        check_conservation(Split(table, table, good.drops))


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("same", "same"),
        ("two words", "two \n\n words"),
        (" trimmed\n", "trimmed"),
        ("ﬁne", "fine"),
        ("caf\u00e9", "cafe\u0301"),
        ("no\u00a0break", "no break"),
        ("line\u2028break", "line break"),
        ("", "  "),
    ],
)
def test_texts_equal_but_for_form_and_white_space_are_identical(chosen, rejected):
    assert reasons(filter_pairs(pairs(pair("a", chosen, rejected)), [IDENTICAL])) == {"a": "identical"}


@pytest.mark.parametrize(("chosen", "rejected"), [("same", "some"), ("two words", "twowords"), ("5", "-5"), ("", "x")])
def test_texts_that_differ_are_not_identical(chosen, rejected):
    assert kept(filter_pairs(pairs(pair("a", chosen, rejected)), [IDENTICAL])) == ["a"]


def test_similarity_is_the_share_that_stays():
    # One substitution is a deletion and an insertion: 1 - 2 / 20.
    table = pairs(pair("a", "0123456789", "012345678x"), pair("b", "0123456789", "01234567xy"))
    tables = filter_pairs(table, [SimilarityConfig(name="similarity", max_similarity=0.85)])
    assert kept(tables) == ["b"]
    row = tables.drops.to_pylist()[0]
    assert (row["reason"], row["value"], row["threshold"]) == ("similarity", pytest.approx(0.9), 0.85)


def test_similarity_at_the_limit_passes():
    table = pairs(pair("a", "01234567", "0123456x"))
    assert kept(filter_pairs(table, [SimilarityConfig(name="similarity", max_similarity=0.875)])) == ["a"]


def test_one_wrong_digit_in_a_long_answer_is_similar():
    text = "Adding the parts gives " + "a sum of many terms, " * 20
    tables = filter_pairs(pairs(pair("a", text + "42", text + "43")), [SimilarityConfig(name="similarity")])
    assert reasons(tables) == {"a": "similarity"}


def test_length_limits_hold_for_both_sides():
    table = pairs(
        pair("short", "  ab ", "a fine answer"),
        pair("long", "a fine answer", "x" * 41),
        pair("fits", "abc", "x" * 9),
        pair("ratio", "x" * 10, "x" * 31),
    )
    tables = filter_pairs(table, [LengthConfig(name="length", min_chars=3, max_chars=40, max_ratio=3.0)])
    assert kept(tables) == ["fits"]
    found = {row["id"]: (row["reason"], row["value"], row["threshold"]) for row in tables.drops.to_pylist()}
    assert found == {
        "short": ("too_short", 2.0, 3.0),
        "long": ("too_long", 41.0, 40.0),
        "ratio": ("length_ratio", 3.1, 3.0),
    }


def test_length_counts_characters_not_bytes():
    table = pairs(pair("a", "é" * 10, "e" * 10))
    assert kept(filter_pairs(table, [LengthConfig(name="length", min_chars=10, max_chars=10)])) == ["a"]


def test_empty_text_beside_a_full_one_has_an_infinite_ratio():
    table = pairs(pair("one", "", "full"), pair("both", "", " "))
    tables = filter_pairs(table, [LengthConfig(name="length", min_chars=0, max_ratio=100.0)])
    assert kept(tables) == ["both"]
    assert tables.drops["value"].to_pylist() == [math.inf]


def test_chosen_answer_that_was_cut_is_dropped_and_an_unknown_one_passes():
    # Published pipelines keep no finish reason, so that cut answers are trained on as chosen.
    table = pairs(
        pair("whole", chosen_finish_reason="stop", rejected_finish_reason="stop"),
        pair("cut", chosen_finish_reason="length", rejected_finish_reason="stop"),
        pair("cut_rejected", chosen_finish_reason="stop", rejected_finish_reason="length"),
        pair("unknown"),
    )
    assert kept(filter_pairs(table, [TruncatedConfig(name="truncated")])) == ["whole", "cut_rejected", "unknown"]
    either = filter_pairs(table, [TruncatedConfig(name="truncated", sides="either")])
    assert kept(either) == ["whole", "unknown"]
    assert set(reasons(either).values()) == {"truncated"}


def test_largest_margin_survives_among_duplicates():
    table = pairs(
        pair("c", margin=2.0), pair("b", margin=2.0), pair("a", margin=1.0), pair("other", chosen="another answer")
    )
    tables = filter_pairs(table, [DUPLICATES])
    assert kept(tables) == ["c", "other"]  # equal margins: the smaller hash of the id
    assert reasons(tables) == {"b": "duplicate_pair", "a": "duplicate_pair"}


def test_same_texts_of_another_prompt_or_turned_around_are_no_duplicates():
    table = pairs(pair("a"), pair("b", prompt_id="q"), pair("c", "something else", "a good answer"))
    assert kept(filter_pairs(table, [DUPLICATES])) == ["a", "b", "c"]


FILTERS = [
    IDENTICAL,
    DUPLICATES,
    SimilarityConfig(name="similarity", max_similarity=0.6),
    TruncatedConfig(name="truncated"),
    LengthConfig(name="length", min_chars=2, max_chars=5, max_ratio=2.0),
]


@st.composite
def drawn_pairs(draw):
    text = st.text(alphabet="ab \n", max_size=6)
    record = st.tuples(
        st.sampled_from("pq"), text, text, st.sampled_from([0.5, 1.0]), st.sampled_from(["stop", "length", None])
    )
    records = draw(st.lists(record, max_size=10))
    return [
        pair(f"id{row}", chosen, rejected, prompt_id=prompt, margin=margin, chosen_finish_reason=finish)
        for row, (prompt, chosen, rejected, margin, finish) in enumerate(records)
    ]


@settings(deadline=None)
@given(drawn_pairs(), st.permutations(FILTERS), st.randoms(use_true_random=False))
def test_survivors_hang_on_the_pairs_not_on_the_order_of_rows(records, filters, random):
    straight = filter_pairs(pairs(*records), filters)
    turned = filter_pairs(pairs(*random.sample(records, len(records))), filters)
    assert sorted(kept(straight)) == sorted(kept(turned))
    assert reasons(straight) == reasons(turned)


@settings(deadline=None)
@given(drawn_pairs(), st.permutations(FILTERS))
def test_every_pair_is_kept_or_in_the_ledger_and_filtering_twice_changes_nothing(records, filters):
    tables = filter_pairs(pairs(*records), filters)
    ids = [record["pair_id"] for record in records]
    assert sorted(kept(tables) + tables.drops["id"].to_pylist()) == sorted(ids)
    assert [step.n_in for step in tables.funnel] == [
        len(ids) - sum(step.n_dropped for step in tables.funnel[:row]) for row in range(len(filters))
    ]
    again = filter_pairs(tables.kept, filters)
    assert again.kept.equals(tables.kept)
    assert len(again.drops) == 0


@settings(deadline=None)
@given(drawn_pairs(), st.permutations([FILTERS[0], *FILTERS[2:]]))
def test_order_of_filters_that_look_at_one_pair_changes_no_survivor(records, filters):
    in_order = filter_pairs(pairs(*records), [FILTERS[0], *FILTERS[2:]])
    assert kept(filter_pairs(pairs(*records), filters)) == kept(in_order)
