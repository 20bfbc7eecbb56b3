import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filtering.filtering import filter_pairs
from filtering.filters.margin import MarginConfig
from filtering.filters.truncated import TruncatedConfig
from judging.schema import PAIRS


def table(records):
    rows = [
        {
            "pair_id": pair_id,
            "prompt_id": "p",
            "messages": [],
            "chosen": "a",
            "rejected": "b",
            "margin": margin,
            "chosen_finish_reason": chosen,
            "rejected_finish_reason": rejected,
        }
        for pair_id, margin, chosen, rejected in records
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS)


def config(share):
    return TruncatedConfig(name="truncated", max_rejected_share=share)


def test_cut_rejected_answers_beyond_the_share_go_the_smallest_margins_first():
    whole = [(f"whole{number}", 1.0, "stop", "stop") for number in range(3)]
    cut = [(f"cut{margin}", float(margin), None, "length") for margin in (1, 3, 2)]
    drops = filter_pairs(table([*cut, *whole]), [config(0.25)]).drops
    assert sorted(drops["id"].to_pylist()) == ["cut1", "cut2"]
    assert set(drops["reason"].to_pylist()) == {"rejected_truncated_share"}
    assert sorted(drops["value"].to_pylist()) == [pytest.approx(2 / 5), pytest.approx(3 / 6)]


def test_cut_chosen_answers_count_for_no_share():
    records = [("a", 1.0, "length", "length"), ("b", 1.0, "stop", "stop"), ("c", 1.0, "length", "stop")]
    drops = filter_pairs(table(records), [config(0.0)]).drops
    assert {row["id"]: row["reason"] for row in drops.to_pylist()} == {"a": "truncated", "c": "truncated"}


def test_share_is_of_what_the_filter_keeps_whatever_later_ones_drop():
    records = [("cut", 2.0, "stop", "length"), ("whole", 1.0, "stop", "stop"), ("tie", 0.0, "stop", "stop")]
    tables = filter_pairs(table(records), [config(1 / 3), MarginConfig(name="margin")])
    assert tables.kept["pair_id"].to_pylist() == ["cut", "whole"]


ROWS = st.lists(
    st.tuples(
        st.sampled_from([0.5, 1.0]), st.sampled_from(["stop", "length", None]), st.sampled_from(["stop", "length"])
    ),
    max_size=12,
)


@settings(deadline=None)
@given(ROWS, st.floats(0, 1, allow_subnormal=False), st.randoms(use_true_random=False))
def test_share_holds_survivors_hang_on_no_order_and_twice_is_once(rows, share, random):
    records = [(f"id{number}", *row) for number, row in enumerate(rows)]
    kept = filter_pairs(table(records), [config(share)]).kept
    n_cut = sum(reason == "length" for reason in kept["rejected_finish_reason"].to_pylist())
    assert n_cut <= share * len(kept) + 1e-9
    turned = filter_pairs(table(random.sample(records, len(records))), [config(share)]).kept
    assert sorted(turned["pair_id"].to_pylist()) == sorted(kept["pair_id"].to_pylist())
    assert filter_pairs(kept, [config(share)]).kept.equals(kept)
