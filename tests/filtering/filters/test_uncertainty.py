import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filtering.filtering import filter_pairs
from filtering.filters.uncertainty import UncertaintyConfig
from judging.schema import PAIRS


def pairs(measured):
    records = [
        {"pair_id": f"id{row}", "messages": [], "chosen": "x", "rejected": "y", "uncertainty": spread, "margin": margin}
        for row, (spread, margin) in enumerate(measured)
    ]
    return pa.Table.from_pylist(records, schema=PAIRS)


def dropped(measured, **config):
    rows = filter_pairs(pairs(measured), [UncertaintyConfig(name="uncertainty", **config)]).drops.to_pylist()
    return {int(row["id"][2:]): (row["reason"], row["value"], row["threshold"]) for row in rows}


def test_margin_within_its_uncertainty_is_dropped():
    assert dropped([(0.5, 1.0), (1.0, 1.0), (1.5, 1.0)]) == {2: ("uncertain_margin", 1.5, 1.0)}


def test_uncertainty_has_a_limit_of_its_own():
    found = dropped([(0.5, 9.0), (0.6, 9.0)], max_uncertainty=0.5, max_ratio=None)
    assert found == {1: ("uncertain", 0.6, 0.5)}


def test_any_doubt_about_a_margin_of_zero_or_less_is_too_much():
    assert dropped([(0.1, 0.0), (0.1, -1.0)], max_ratio=100.0) == {
        0: ("uncertain_margin", math.inf, 100.0),
        1: ("uncertain_margin", math.inf, 100.0),
    }


def test_judge_that_is_sure_of_a_tie_does_not_disagree_with_itself():
    assert dropped([(0.0, 0.0), (0.0, 2.0)]) == {}


def test_infinite_uncertainty_is_too_much_whatever_the_margin():
    assert set(dropped([(math.inf, 1.0), (math.inf, math.inf)])) == {0, 1}
    assert set(dropped([(0.5, math.inf)])) == set()


def test_unknown_values_pass_unless_they_are_asked_for():
    measured = [(None, 1.0), (math.nan, 1.0), (0.1, None), (0.1, 1.0)]
    assert dropped(measured) == {}
    assert dropped(measured, unknown="drop") == dict.fromkeys(range(3), ("unknown_uncertainty", None, None))
    # The margin is not looked at.
    absolute = dropped(measured, unknown="drop", max_uncertainty=1.0, max_ratio=None)
    assert absolute == dict.fromkeys(range(2), ("unknown_uncertainty", None, None))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_ratio": None}, "max_uncertainty and max_ratio are both null"),
        ({"max_ratio": 0.0}, "max_ratio\n.*greater than 0"),
        ({"max_uncertainty": -1.0}, "max_uncertainty\n.*greater than or equal to 0"),
        ({"max_uncertainty": math.nan}, "max_uncertainty\n"),
    ],
)
def test_wrong_config_names_the_field(fields, message):
    with pytest.raises(ValidationError, match=message):
        UncertaintyConfig(name="uncertainty", **fields)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(0, 1e6) | st.just(math.inf), st.none() | st.floats(-1e6, 1e6) | st.just(math.inf)
        ),
        max_size=8,
    ),
    st.sampled_from(["keep", "drop"]),
    st.sampled_from([0.0, 0.5, 3.0]),
    st.sampled_from([0.25, 1.0, 3.0]),
)
def test_every_pair_is_kept_or_dropped_for_itself_and_twice_changes_nothing(measured, unknown, most, ratio):
    config = UncertaintyConfig(name="uncertainty", max_uncertainty=most, max_ratio=ratio, unknown=unknown)
    tables = filter_pairs(pairs(measured), [config])
    assert len(tables.kept) + len(tables.drops) == len(measured)
    assert len(tables.kept) == sum(len(filter_pairs(pairs([one]), [config]).kept) for one in measured)
    assert filter_pairs(tables.kept, [config]).drops.num_rows == 0
