import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filtering.filtering import filter_pairs
from filtering.filters.source_cap import SourceCapConfig, share_cap
from judging.schema import PAIRS


def pairs(sources, margins=None):
    margins = margins or [1.0] * len(sources)
    records = [
        {"pair_id": f"id{row}", "messages": [], "chosen": "x", "rejected": "y", "source": source, "margin": margin}
        for row, (source, margin) in enumerate(zip(sources, margins, strict=True))
    ]
    return pa.Table.from_pylist(records, schema=PAIRS)


def config(**fields):
    return SourceCapConfig(name="source_cap", **fields)


def test_the_best_pairs_of_each_source_are_kept():
    tables = filter_pairs(pairs(["a", "a", "a", "b", None], [1.0, 3.0, 2.0, 1.0, None]), [config(max_pairs=2)])
    assert tables.kept["pair_id"].to_pylist() == ["id1", "id2", "id3", "id4"]
    row = tables.drops.to_pylist()[0]
    assert (row["id"], row["reason"], row["value"], row["threshold"]) == ("id0", "source_pairs", 3.0, 2.0)


def test_pairs_without_a_source_are_one_source():
    assert len(filter_pairs(pairs([None] * 5 + ["a"]), [config(max_pairs=2)]).kept) == 3


def test_share_is_of_what_is_kept():
    # 100 of a, 10 of b, 10 of c: 20 of a are half of the 40 that are left.
    tables = filter_pairs(pairs(["a"] * 100 + ["b"] * 10 + ["c"] * 10), [config(max_share=0.5)])
    assert Counter(tables.kept["source"].to_pylist()) == {"a": 20, "b": 10, "c": 10}
    assert set(tables.drops["reason"].to_pylist()) == {"source_share"}
    assert set(tables.drops["threshold"].to_pylist()) == {20.0}


def test_sources_within_their_share_lose_nothing():
    assert len(filter_pairs(pairs(["a"] * 6 + ["b"] * 4), [config(max_share=0.6)]).drops) == 0


def test_share_is_taken_of_what_the_number_leaves():
    tables = filter_pairs(pairs(["a"] * 9 + ["b"] * 8 + ["c"] * 2), [config(max_pairs=6, max_share=0.4)])
    assert Counter(tables.kept["source"].to_pylist()) == {"a": 4, "b": 4, "c": 2}


def test_two_sources_may_have_half_each():
    assert Counter(filter_pairs(pairs(["a"] * 9 + ["b"] * 3), [config(max_share=0.5)]).kept["source"].to_pylist()) == {
        "a": 3, "b": 3
    }  # fmt: skip


def test_three_sources_may_have_a_third_each():
    assert share_cap(np.array([7, 5, 2]), 1 / 3) == 2


def test_share_that_too_few_sources_can_hold_is_an_error():
    with pytest.raises(ValueError, match=r"source_cap\.max_share 0\.4 cannot hold: the pairs have 2 sources"):
        filter_pairs(pairs(["a", "b", "b"]), [config(max_share=0.4)])
    with pytest.raises(ValueError, match=r"the pairs have 1 sources, so one of them has at least 1/1"):
        filter_pairs(pairs(["a"]), [config(max_share=0.9)])


def test_no_pairs_have_no_sources():
    assert len(filter_pairs(pairs([]), [config(max_share=0.1, max_pairs=1)]).kept) == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "max_pairs and max_share are both null"),
        ({"max_pairs": 0}, "max_pairs\n.*greater than or equal to 1"),
        ({"max_share": 1.0}, "max_share\n.*less than 1"),
        ({"max_share": math.nan}, "max_share\n"),
    ],
)
def test_wrong_config_names_the_field(fields, message):
    with pytest.raises(ValidationError, match=message):
        config(**fields)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.floats(0.05, 0.95))
def test_cap_is_the_largest_one_that_leaves_every_source_within_its_share(counts, share):
    assume(share * len(counts) >= 1 + 1e-9)
    counts = np.array(counts)
    cap = share_cap(counts, share)

    def holds(candidate):
        left = np.minimum(counts, candidate)
        return left.max() <= share * left.sum() * (1 + 1e-12)

    assert holds(cap)
    assert cap >= counts.max() or not any(holds(candidate) for candidate in range(cap + 1, counts.max() + 1))


SOURCE = st.sampled_from(["a", "a", "a", "b", "c", None])


@settings(deadline=None)
@given(
    st.lists(st.tuples(SOURCE, st.sampled_from([0.5, 1.0, None])), max_size=20),
    st.none() | st.integers(1, 6),
    st.sampled_from([0.34, 0.5, 0.7]),
    st.randoms(use_true_random=False),
)
def test_survivors_hang_on_the_pairs_and_filtering_twice_changes_nothing(records, most, share, random):
    assume(not records or len({source for source, _ in records}) * share >= 1)
    table = pairs([source for source, _ in records], [margin for _, margin in records])
    chosen = [config(max_pairs=most, max_share=share)]
    straight = filter_pairs(table, chosen)
    turned = filter_pairs(table.take(pa.array(random.sample(range(len(records)), len(records)), pa.int64())), chosen)
    assert sorted(straight.kept["pair_id"].to_pylist()) == sorted(turned.kept["pair_id"].to_pylist())
    assert len(straight.kept) + len(straight.drops) == len(records)
    assert filter_pairs(straight.kept, chosen).kept.equals(straight.kept)
