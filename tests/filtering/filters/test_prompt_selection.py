import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filtering.filtering import filter_pairs
from filtering.filters.prompt_selection import PromptSelectionConfig
from judging.schema import PAIRS


def pairs(*records):
    plain = {"messages": [{"role": "user", "content": "Say something."}], "chosen": "x", "rejected": "y"}
    rows = [plain | {"pair_id": f"id{row}"} | record for row, record in enumerate(records)]
    return pa.Table.from_pylist(rows, schema=PAIRS)


def dropped(records, **config):
    chosen = PromptSelectionConfig(name="prompt_selection", **config)
    rows = filter_pairs(pairs(*records), [chosen]).drops.to_pylist()
    return {int(row["id"][2:]): (row["reason"], row["value"], row["threshold"]) for row in rows}


def test_prompt_with_a_bad_rejected_answer_is_dropped():
    records = [{"rejected_score": score} for score in (-3.0, 1.0, 2.0)]
    assert dropped(records, min_rejected_score=1.0) == {0: ("low_rejected_score", -3.0, 1.0)}


def test_prompt_with_a_short_rejected_answer_is_dropped():
    records = [{"rejected": text} for text in ("  four \n", "fifth", "éèêëē")]
    assert dropped(records, min_rejected_chars=5) == {0: ("short_rejected", 4.0, 5.0)}


def test_prompt_with_a_wide_gap_is_dropped():
    assert dropped([{"margin": 1.0}, {"margin": 1.5}], max_margin=1.0) == {1: ("wide_margin", 1.5, 1.0)}


def test_prompt_whose_answers_score_alike_is_dropped():
    records = [{"score_std": 0.01}, {"score_std": 0.5}]
    assert dropped(records, min_score_std=0.1) == {0: ("low_score_std", 0.01, 0.1)}


def test_quantile_is_a_value_of_the_pairs_that_come_in():
    records = [{"rejected_score": float(score)} for score in range(1, 11)]
    # Half of ten values are at or below 5, which stays.
    found = dropped(records, min_rejected_score={"quantile": 0.5})
    assert found == {row: ("low_rejected_score", row + 1.0, 5.0) for row in range(4)}
    upper = dropped([{"margin": float(margin)} for margin in range(1, 11)], max_margin={"quantile": 0.8})
    assert upper == {8: ("wide_margin", 9.0, 8.0), 9: ("wide_margin", 10.0, 8.0)}


def test_all_quantiles_are_of_the_same_pairs():
    records = [{"rejected_score": float(row), "margin": float(row)} for row in range(1, 5)]
    found = dropped(records, min_rejected_score={"quantile": 0.75}, max_margin={"quantile": 0.75})
    assert {row: reason for row, (reason, _, _) in found.items()} == {
        0: "low_rejected_score", 1: "low_rejected_score", 3: "wide_margin"
    }  # fmt: skip


def test_equal_values_stay_together():
    records = [{"rejected_score": score} for score in (3.0, 3.0, 3.0, 4.0)]
    assert dropped(records, min_rejected_score={"quantile": 0.5}) == {}


def test_threshold_of_zeros_has_one_sign_in_any_order_of_rows():
    for scores in ([-0.0, 0.0, -1.0], [0.0, -0.0, -1.0]):
        records = [{"rejected_score": score} for score in scores]
        (_, _, threshold) = dropped(records, min_rejected_score={"quantile": 0.6})[2]
        assert math.copysign(1, threshold) == 1


def test_filtering_again_takes_a_quantile_again_but_not_the_number_that_it_came_to():
    config = PromptSelectionConfig(name="prompt_selection", min_rejected_score={"quantile": 0.5})
    first = filter_pairs(pairs(*({"rejected_score": float(score)} for score in range(1, 11))), [config])
    assert len(filter_pairs(first.kept, [config]).drops) == 2  # the documented exception from idempotence
    number = PromptSelectionConfig(name="prompt_selection", min_rejected_score=first.drops["threshold"][0].as_py())
    assert len(filter_pairs(first.kept, [number]).drops) == 0


def test_unknown_values_pass_unless_they_are_asked_for():
    records = [{"rejected_score": None}, {"rejected_score": math.nan}, {"rejected_score": 1.0}]
    assert dropped(records, min_rejected_score={"quantile": 0.5}) == {}
    found = dropped(records, min_rejected_score={"quantile": 0.5}, unknown="drop")
    assert found == {0: ("unknown_score", None, None), 1: ("unknown_score", None, None)}
    assert dropped(records[:2], min_rejected_score={"quantile": 0.5}) == {}


def test_limits_that_are_not_set_ask_for_nothing():
    assert dropped([{"rejected_score": None, "margin": None}], min_rejected_chars=1, unknown="drop") == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "every limit is null"),
        ({"min_rejected_score": {"quantile": 1.0}}, "min_rejected_score.*quantile\n.*less than 1"),
        ({"max_margin": -1.0}, "max_margin.*\n.*greater than or equal to 0"),
        ({"min_score_std": math.nan}, "min_score_std.*\n"),
        ({"min_rejected_chars": {"share": 0.5}}, "min_rejected_chars"),
    ],
)
def test_wrong_config_names_the_field(fields, message):
    with pytest.raises(ValidationError, match=message):
        PromptSelectionConfig(name="prompt_selection", **fields)


VALUE = st.none() | st.sampled_from([0.0, 1.0, 2.0]) | st.floats(-5, 5, width=16, allow_subnormal=False)
RECORD = st.fixed_dictionaries({"rejected_score": VALUE, "margin": VALUE, "score_std": VALUE})


def limits(value):
    return st.fixed_dictionaries({"min_rejected_score": value, "max_margin": value, "min_score_std": value})


@settings(deadline=None)
@given(
    st.lists(RECORD, max_size=8),
    limits(st.sampled_from([0.0, 0.5, 3.0]) | st.floats(0.1, 0.9).map(lambda share: {"quantile": share})),
    st.sampled_from(["keep", "drop"]),
    st.randoms(use_true_random=False),
)
def test_verdict_does_not_hang_on_the_order_of_rows(records, config, unknown, random):
    chosen = [PromptSelectionConfig(name="prompt_selection", unknown=unknown, **config)]
    table = pairs(*records)
    straight = filter_pairs(table, chosen)
    turned = filter_pairs(table.take(pa.array(random.sample(range(len(records)), len(records)), pa.int64())), chosen)
    assert sorted(straight.kept["pair_id"].to_pylist()) == sorted(turned.kept["pair_id"].to_pylist())
    assert len(straight.kept) + len(straight.drops) == len(records)


@settings(deadline=None)
@given(st.lists(RECORD, max_size=8), limits(st.sampled_from([0.0, 0.5, 3.0])), st.sampled_from(["keep", "drop"]))
def test_filtering_twice_by_numbers_changes_nothing(records, config, unknown):
    chosen = [PromptSelectionConfig(name="prompt_selection", unknown=unknown, **config)]
    once = filter_pairs(pairs(*records), chosen)
    assert filter_pairs(once.kept, chosen).kept.equals(once.kept)
