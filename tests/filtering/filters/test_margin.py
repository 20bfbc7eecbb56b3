import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filtering.filtering import filter_pairs
from filtering.filters.margin import MarginConfig
from judging.schema import PAIRS


def pairs(margins):
    records = [
        {"pair_id": f"id{row}", "messages": [], "chosen": "x", "rejected": "y", "margin": margin}
        for row, margin in enumerate(margins)
    ]
    return pa.Table.from_pylist(records, schema=PAIRS)


def dropped(margins, **config):
    rows = filter_pairs(pairs(margins), [MarginConfig(name="margin", **config)]).drops.to_pylist()
    return {int(row["id"][2:]): (row["reason"], row["value"], row["threshold"]) for row in rows}


def test_ties_and_pairs_that_are_the_wrong_way_round_are_dropped():
    # Several published pipelines pair the first of equal candidates with itself or with another one.
    assert dropped([1.0, 0.0, -0.5, 1e-9]) == {1: ("min_margin", 0.0, 0.0), 2: ("min_margin", -0.5, 0.0)}


def test_margin_is_above_the_least_and_at_most_the_largest():
    found = dropped([0.5, 0.6, 2.0, 2.1], min_margin=0.5, max_margin=2.0)
    assert found == {0: ("min_margin", 0.5, 0.5), 3: ("max_margin", 2.1, 2.0)}


def test_unknown_margin_passes_unless_it_is_asked_for():
    assert dropped([None, math.nan], min_margin=1.0, max_margin=2.0) == {}
    found = dropped([None, math.nan, 1.5], min_margin=1.0, max_margin=2.0, unknown="drop")
    assert found == {0: ("unknown_margin", None, None), 1: ("unknown_margin", None, None)}


def test_infinite_margin_is_above_every_limit():
    assert dropped([math.inf], max_margin=5.0) == {0: ("max_margin", math.inf, 5.0)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_margin": 1.0, "max_margin": 1.0}, "max_margin 1.0 is not above min_margin 1.0: every pair"),
        ({"min_margin": math.nan}, "min_margin\n.*finite"),
        ({"max_margin": math.inf}, "max_margin\n.*finite"),
        ({"unknown": "maybe"}, "unknown\n.*'keep' or 'drop'"),
    ],
)
def test_wrong_config_names_the_field(fields, message):
    with pytest.raises(ValidationError, match=message):
        MarginConfig(name="margin", **fields)


@settings(deadline=None)
@given(
    st.lists(st.none() | st.floats(-1e6, 1e6) | st.sampled_from([math.inf, -math.inf, math.nan]), max_size=8),
    st.sampled_from(["keep", "drop"]),
    st.sampled_from([-2.0, 0.0, 0.5]),
    st.sampled_from([1.5, 3.0]),
)
def test_every_pair_is_kept_or_dropped_for_itself_and_twice_changes_nothing(margins, unknown, least, most):
    config = MarginConfig(name="margin", min_margin=least, max_margin=most, unknown=unknown)
    tables = filter_pairs(pairs(margins), [config])
    assert len(tables.kept) + len(tables.drops) == len(margins)
    alone = [len(filter_pairs(pairs([margin]), [config]).kept) for margin in margins]
    assert len(tables.kept) == sum(alone)
    assert filter_pairs(tables.kept, [config]).drops.num_rows == 0
