import math
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from judging.config import PanelConfig
from judging.panel import combine_panel
from judging.schema import SCORES


def panel(n=2, weights=None, **fields):
    members = [{"judge": {"kind": "maths"}, "weight": weight} for weight in weights or [1.0] * n]
    return PanelConfig.model_validate({"kind": "panel", "members": members, **fields})


def table(scores, reason="parse"):
    """Scores by `prompt/candidate`; None = unscored."""
    rows = [
        {"candidate_id": id, "prompt_id": id.split("/")[0], "score": score, "reason": reason if score is None else None}
        for id, score in scores.items()
    ]
    return pa.Table.from_pylist(rows, schema=SCORES)


def combine(*members, names=None, **fields):
    config = panel(len(members), **fields)
    names = names or [f"m{n}" for n in range(len(members))]
    found = combine_panel(config, [table(one) for one in members], names)
    assert found.schema == SCORES
    return {row["candidate_id"]: row for row in found.to_pylist()}


def scores_of(found):
    return {id: row["score"] for id, row in found.items()}


def test_mean_of_z_scores_by_hand():
    # z = (1 - 2) / sqrt(2/3) for the first judge, and for the second (0 - 10) / sqrt(200).
    found = combine({"p/a": 1, "p/b": 2, "p/c": 3}, {"p/a": 0, "p/b": 0, "p/c": 30}, names=["rubric", "maths"])
    z, other = math.sqrt(1.5), 10 / math.sqrt(200)
    assert scores_of(found) == pytest.approx({"p/a": (-z - other) / 2, "p/b": -other / 2, "p/c": (z + 2 * other) / 2})
    assert dict(found["p/a"]["aspects"]) == pytest.approx({"rubric": -z, "maths": -other})
    assert found["p/a"]["uncertainty"] == pytest.approx((z - other) / 2)
    assert found["p/b"]["uncertainty"] == pytest.approx(other / 2)
    assert {row["judge"] for row in found.values()} == {"panel"}


def test_weights_count_in_mean_and_uncertainty():
    found = combine({"p/a": 0, "p/b": 1}, {"p/a": 1, "p/b": 0}, weights=[3.0, 1.0])
    assert scores_of(found) == {"p/a": -0.5, "p/b": 0.5}
    assert found["p/a"]["uncertainty"] == pytest.approx(math.sqrt(0.75))


def test_prompts_are_put_on_their_own_scales():
    found = combine({"p/a": 1, "p/b": 2, "q/a": 100, "q/b": 300}, {"p/a": 5, "p/b": 7, "q/a": 0, "q/b": 1})
    assert scores_of(found) == {"p/a": -1.0, "p/b": 1.0, "q/a": -1.0, "q/b": 1.0}


def test_prompt_with_equal_scores_says_nothing():
    found = combine({"p/a": 0.1, "p/b": 0.1, "p/c": 0.1}, {"p/a": 1, "p/b": 2, "p/c": 2})
    assert [dict(row["aspects"])["m0"] for row in found.values()] == [0.0, 0.0, 0.0]
    assert found["p/b"]["score"] == found["p/c"]["score"] > 0 > found["p/a"]["score"]


def test_lone_candidate_of_a_prompt_scores_zero():
    assert scores_of(combine({"p/a": 7}, {"p/a": -2})) == {"p/a": 0.0}
    assert scores_of(combine({"p/a": 7}, {"p/a": -2}, combine="majority")) == {"p/a": 0.5}


def test_majority_counts_members_that_see_the_answer_above_the_median():
    found = combine(
        {"p/a": 1, "p/b": 2, "p/c": 3, "p/d": 4},
        {"p/a": 1, "p/b": 9, "p/c": 3, "p/d": 4},
        {"p/a": 0, "p/b": 0, "p/c": 0, "p/d": 1},
        combine="majority",
    )
    # Votes: 0 0 1 1, 0 1 0 1, and half a vote for the three that are on the third judge's median.
    assert scores_of(found) == pytest.approx({"p/a": 0.5 / 3, "p/b": 1.5 / 3, "p/c": 1.5 / 3, "p/d": 1.0})
    assert dict(found["p/b"]["aspects"]) == {"m0": 0.0, "m1": 1.0, "m2": 0.5}
    assert found["p/d"]["uncertainty"] == 0.0
    assert found["p/b"]["uncertainty"] == pytest.approx(math.sqrt(1 / 6))


def test_answer_in_the_middle_of_an_odd_number_has_half_a_vote():
    found = combine({"p/a": 1, "p/b": 2, "p/c": 3}, {"p/a": 1, "p/b": 2, "p/c": 3}, combine="majority")
    assert scores_of(found) == {"p/a": 0.0, "p/b": 0.5, "p/c": 1.0}


def test_answer_that_a_member_did_not_score_is_unscored_and_says_why():
    found = combine({"p/a": 1, "p/b": None, "p/c": 3}, {"p/a": 1, "p/b": 2, "p/c": 3})
    row = found["p/b"]
    assert (row["score"], row["reason"], row["uncertainty"]) == (None, "too_few_members", None)
    assert row["rationale"] == "m0: parse, m1: scored"
    assert row["aspects"] == [("m1", 0.0)]
    assert scores_of(found)["p/c"] == pytest.approx((1 + math.sqrt(1.5)) / 2)
    assert found["p/a"]["reason"] is found["p/a"]["rationale"] is None


def test_enough_other_members_score_an_answer_with_their_own_weights():
    found = combine(
        {"p/a": 1, "p/b": None, "p/c": 3}, {"p/a": 1, "p/b": 9, "p/c": 5}, {"p/a": 0, "p/b": 9, "p/c": 9},
        weights=[5.0, 1.0, 3.0], min_members=2,
    )  # fmt: skip
    z1, z2 = (9 - 5) / math.sqrt(32 / 3), 3 / math.sqrt(18)
    assert scores_of(found)["p/b"] == pytest.approx((z1 + 3 * z2) / 4)
    assert [name for name, _ in found["p/b"]["aspects"]] == ["m1", "m2"]


def test_one_member_is_enough_if_the_panel_says_so_and_its_uncertainty_is_unknown():
    found = combine({"p/a": None, "p/b": None}, {"p/a": 1, "p/b": 2}, min_members=1)
    assert scores_of(found) == {"p/a": -1.0, "p/b": 1.0}
    assert [row["uncertainty"] for row in found.values()] == [None, None]


def test_answer_that_nobody_scored_is_unscored_however_few_are_enough():
    found = combine({"p/a": None, "p/b": 1}, {"p/a": None, "p/b": 2}, min_members=1)
    assert (found["p/a"]["score"], found["p/a"]["reason"]) == (None, "too_few_members")
    assert found["p/b"]["score"] == 0.0


@pytest.mark.parametrize("combine_by", ["mean", "majority"])
def test_extreme_scores_give_finite_ones(combine_by):
    found = combine(
        {"p/a": -1.7e308, "p/b": 1.7e308, "p/c": 0.0}, {"p/a": 5e-324, "p/b": 0.0, "p/c": 1e-300},
        combine=combine_by,
    )  # fmt: skip
    assert all(math.isfinite(row["score"]) for row in found.values())


def test_tables_without_rows_give_none():
    assert combine({}, {}) == combine({}, {}, combine="majority") == {}


SCORE = st.integers(-5, 5).map(float) | st.none()


@st.composite
def judged(draw, n_members=2):
    """Scores of a few prompts' candidates by some members."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    ids = [f"p{prompt}/{n}" for prompt, size in enumerate(sizes) for n in range(size)]
    return [dict(zip(ids, draw(st.lists(SCORE, min_size=len(ids), max_size=len(ids))), strict=True))
            for _ in range(n_members)]  # fmt: skip


COMBINE = st.sampled_from(["mean", "majority"])


@given(judged(3), COMBINE, st.integers(1, 3))
def test_every_candidate_has_one_row_and_a_score_or_a_reason(members, how, min_members):
    found = combine(*members, combine=how, min_members=min_members)
    assert list(found) == list(members[0])
    for id, row in found.items():
        n_scored = sum(member[id] is not None for member in members)
        assert (row["score"] is None) == (n_scored < min_members)
        assert row["reason"] == ("too_few_members" if n_scored < min_members else None)
        assert len(row["aspects"]) == n_scored
        assert (row["uncertainty"] is None) == (n_scored < max(min_members, 2))


@given(judged(1), COMBINE, st.integers(2, 4))
def test_identical_judges_keep_the_order_of_one(members, how, n):
    found = scores_of(combine(*(members * n), combine=how))
    (one,) = members
    for a in one:
        for b in one:
            if a.split("/")[0] == b.split("/")[0] and one[a] is not None and one[b] is not None and one[a] > one[b]:
                assert found[a] > found[b] if how == "mean" else found[a] >= found[b]


@given(judged(1), st.integers(2, 4))
def test_identical_judges_agree_entirely(members, n):
    found = combine(*(members * n), min_members=1)
    assert {row["uncertainty"] for row in found.values()} <= {0.0, None}


@given(judged(2), COMBINE, st.sampled_from([-1000.0, -3.0, 0.5, 1000.0]), st.sampled_from([0.25, 1.0, 3.0, 1024.0]))
def test_offset_and_scale_of_a_judge_change_nothing(members, how, offset, scale):
    plain, other = members
    moved = {id: None if score is None else score * scale + offset for id, score in plain.items()}
    before, after = (scores_of(combine(one, other, combine=how, min_members=1)) for one in (plain, moved))
    assert after == pytest.approx(before, abs=1e-9)


@given(judged(3), COMBINE, st.randoms(use_true_random=False))
def test_order_of_rows_and_of_members_changes_nothing(members, how, random):
    before = combine(*members, combine=how, weights=[1.0, 2.0, 3.0], min_members=1)
    shuffled = [dict(random.sample(list(member.items()), len(member))) for member in members]
    assert combine(*shuffled, combine=how, weights=[1.0, 2.0, 3.0], min_members=1) == before
    turned = combine(*members[::-1], combine=how, weights=[3.0, 2.0, 1.0], min_members=1)
    assert scores_of(turned) == pytest.approx(scores_of(before), abs=1e-12)


@given(judged(2), COMBINE)
def test_judges_turned_upside_down_turn_the_panel(members, how):
    turned = [{id: None if score is None else -score for id, score in member.items()} for member in members]
    before, after = (scores_of(combine(*some, combine=how, min_members=1)) for some in (members, turned))
    middle = 0.0 if how == "mean" else 0.5
    assert after == pytest.approx({id: None if s is None else 2 * middle - s for id, s in before.items()}, abs=1e-12)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (({"p/a": 1}, {"p/b": 1}), "m0 and m1 scored different candidates: 1 and 1, of which 0 are the same"),
        (({"p/a": 1}, {"p/a": 1, "p/b": 1}), "m0 and m1 scored different candidates: 1 and 2, of which 1 are"),
        (({"p/a": 1}, {"p/a": math.nan}), "member m1 has 1 scores that are not finite"),
        (({"p/a": math.inf}, {"p/a": 1}), "member m0 has 1 scores that are not finite"),
    ],
)
def test_members_that_do_not_fit_are_an_error_that_names_them(members, message):
    with pytest.raises(ValueError, match=message):
        combine(*members)


def test_candidate_twice_or_under_another_prompt_is_an_error():
    one = table({"p/a": 1, "p/b": 2})
    with pytest.raises(ValueError, match="member m1: 4 score rows hold 2 candidates"):
        combine_panel(panel(), [one, pa.concat_tables([one, one])], ["m0", "m1"])
    moved = one.set_column(1, "prompt_id", pa.array(["q", "p"]))
    with pytest.raises(ValueError, match="m0 and m1 name different prompts"):
        combine_panel(panel(), [one, moved], ["m0", "m1"])


@pytest.mark.parametrize("names", [["m0"], ["m0", "m0"], ["m0", "m1", "m2"]])
def test_each_member_needs_a_name_of_its_own(names):
    with pytest.raises(ValueError, match="a panel of 2 members wants a table and a name of its own for each"):
        combine_panel(panel(), [table({"p/a": 1})] * 2, names)


def test_more_members_than_there_are_cannot_be_asked_for():
    with pytest.raises(ValidationError, match="min_members is 3, and there are only 2 members"):
        panel(2, min_members=3)


def test_half_a_million_candidates_take_seconds():
    n = 500_000
    ids = pa.array([f"c{row}" for row in range(n)])
    prompts = pa.array([f"p{row // 8}" for row in range(n)])
    draws = np.random.default_rng(0).normal(size=(3, n))
    tables = [
        pa.table({field.name: {"candidate_id": ids, "prompt_id": prompts, "score": pa.array(draw)}.get(
            field.name, pa.nulls(n, field.type)) for field in SCORES}, SCORES)
        for draw in draws
    ]  # fmt: skip
    start = time.perf_counter()
    found = combine_panel(panel(3), tables, ["a", "b", "c"])
    assert time.perf_counter() - start < 15
    expected = draws.reshape(3, -1, 8)
    expected = (expected - expected.mean(axis=2, keepdims=True)) / expected.std(axis=2, keepdims=True)
    np.testing.assert_allclose(found["score"].to_numpy(), expected.mean(axis=0).ravel(), atol=1e-9)
    np.testing.assert_allclose(found["uncertainty"].to_numpy(), expected.std(axis=0).ravel(), atol=1e-9)
