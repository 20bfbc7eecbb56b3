"""The mean of the scale under the log-probs of a verdict's token."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging.reading.expected_score import expect, sum_labels

SCALE = {str(n): float(n) for n in range(1, 6)}
MASKED = -9999.0


def logs(**shares: float) -> dict[str, float]:
    return {name.strip("_"): math.log(share) for name, share in shares.items()}


def test_half_three_and_half_four_is_three_and_a_half():
    found = expect(logs(_3=0.5, _4=0.5), SCALE)
    assert found is not None
    assert (found.score, found.spread, found.mass) == pytest.approx((3.5, 0.5, 1.0))


@pytest.mark.parametrize("rating", SCALE)
def test_all_mass_on_one_rating_is_that_rating(rating):
    found = expect({rating: 0.0} | {other: MASKED for other in SCALE if other != rating}, SCALE)
    assert found is not None
    assert (found.score, found.spread, found.mass) == (SCALE[rating], 0.0, 1.0)


distributions = st.dictionaries(st.sampled_from([*SCALE, " 4", "The", "10"]), st.floats(-30, 0), min_size=1)


@given(distributions, st.floats(-300, 300))
def test_a_constant_on_all_log_probs_changes_neither_score_nor_spread(logprobs, constant):
    before = expect(logprobs, SCALE)
    after = expect({token: logprob + constant for token, logprob in logprobs.items()}, SCALE)
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        assert after.score == pytest.approx(before.score, abs=1e-9)
        assert after.spread == pytest.approx(before.spread, abs=1e-6)


@given(distributions)
def test_score_lies_within_the_ratings_and_mass_within_one(logprobs):
    found = expect(logprobs, SCALE)
    if found is not None:
        assert 1 - 1e-9 <= found.score <= 5 + 1e-9
        assert 0 <= found.mass <= 1
        assert 0 <= found.spread <= 2 + 1e-9


def test_variants_of_a_token_are_added_up():
    found = expect(logs(_4=0.25) | {" 4": math.log(0.25), "\u01205": math.log(0.5)}, SCALE)
    assert found is not None
    assert found.score == pytest.approx(4.5)
    assert sum_labels({"\u25813": -1.0, "3\n": -1.0, "3.": -1.0, "33": -1.0}, ["3"]) == pytest.approx(
        {"3": -1 + math.log(2)}
    )


def test_other_tokens_count_only_as_missing_mass():
    found = expect(logs(_2=0.3, The=0.7), SCALE)
    assert found is not None
    assert (found.score, found.mass) == pytest.approx((2.0, 0.3))


@pytest.mark.parametrize(
    "logprobs", [{}, {"The": -0.1}, {"6": 0.0}, {"4": MASKED}, {"4": -math.inf}, {"4": math.nan}, {"\u0664": 0.0}]
)
def test_no_rating_among_the_tokens_is_no_score(logprobs):
    assert expect(logprobs, SCALE) is None


def test_tokens_ruled_out_by_a_constraint_weigh_nothing():
    found = expect(logs(_3=0.5, _4=0.5) | {"1": MASKED, "2": MASKED, "5": MASKED, "The": MASKED}, SCALE)
    assert found is not None
    assert (found.score, found.mass) == pytest.approx((3.5, 1.0))
