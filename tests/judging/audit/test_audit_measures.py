"""Measures of a judge's faults, on judges whose faults are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging.audit.audit_measures import (
    longer_wins,
    mean_by_prompt,
    measure_position,
    order_kept,
    own_gap,
    own_preferred_wrongly,
    pairs_within,
    spread_within,
    standardise_within,
    wins,
    within_correlation,
)

NAN = float("nan")
# Two prompts with three answers each.
PROMPT = np.array([0, 0, 0, 1, 1, 1])
LENGTH = np.array([1.0, 2.0, 3.0, 10.0, 30.0, 20.0])


def test_pairs_stay_within_their_prompt_and_come_once():
    pairs = pairs_within(np.array([7, 3, 7, 7, 3]))
    assert {frozenset(pair) for pair in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)} == {
        frozenset({0, 2}), frozenset({0, 3}), frozenset({2, 3}), frozenset({1, 4})
    }  # fmt: skip
    assert len(pairs.first) == 4


def test_a_mean_weighs_prompts_alike_however_many_answers_they_have():
    measure = mean_by_prompt(np.array([0, 0, 0, 1]), np.array([1.0, 1.0, 1.0, 0.0]))
    assert measure.value == 0.5
    assert measure.n == 2


def test_missing_values_and_prompts_of_nothing_else_are_left_out():
    measure = mean_by_prompt(np.array([0, 0, 1]), np.array([1.0, NAN, NAN]))
    assert measure.value == 1.0
    assert measure.n == 1


def test_a_judge_of_length_alone_correlates_wholly_though_prompts_differ_in_scale():
    offset = np.array([0.0, 0.0, 0.0, 500.0, 500.0, 500.0])
    assert within_correlation(PROMPT, LENGTH, 2 * LENGTH + offset).value == pytest.approx(1)
    assert within_correlation(PROMPT, LENGTH, -LENGTH).value == pytest.approx(-1)


def test_differences_between_prompts_are_no_verbosity():
    # Longer answers and higher scores in prompt 1, but no relation within either prompt.
    score = np.array([1.0, 2.0, 1.0, 51.0, 51.0, 50.0])
    length = np.array([1.0, 2.0, 3.0, 91.0, 92.0, 93.0])
    assert np.corrcoef(score, length)[0, 1] > 0.99
    assert within_correlation(PROMPT, length, score).value < 0


def test_correlation_agrees_with_numpy_on_centred_values():
    rng = np.random.default_rng(0)
    prompt, x = np.repeat(np.arange(40), 5), rng.normal(size=200)
    y = 0.5 * x + rng.normal(size=200) + np.repeat(rng.normal(size=40) * 9, 5)
    centred = [v - np.repeat(v.reshape(40, 5).mean(axis=1), 5) for v in (x, y)]
    assert within_correlation(prompt, x, y).value == pytest.approx(np.corrcoef(*centred)[0, 1])


def test_prompts_with_one_answer_do_not_count_as_prompts_behind_a_correlation():
    lonely = within_correlation(np.array([0, 0, 0, 1, 2, 3]), LENGTH, 2 * LENGTH)
    assert (lonely.n, lonely.value) == (1, pytest.approx(1))


def test_equal_scores_determine_no_correlation():
    assert np.isnan(within_correlation(PROMPT, LENGTH, np.full(6, 0.1)).value)


@pytest.mark.parametrize(("sign", "share"), [(1, 1.0), (-1, 0.0), (0, 0.5)])
def test_longer_wins_always_never_or_ties(sign, share):
    assert longer_wins(PROMPT, sign * LENGTH, LENGTH).value == share


def test_answers_of_one_length_tell_nothing_of_verbosity():
    assert longer_wins(np.array([0, 0]), np.array([1.0, 2.0]), np.array([5.0, 5.0])).n == 0


def test_order_kept_counts_flips_and_lost_ties():
    prompt = np.zeros(3, dtype=int)
    assert order_kept(prompt, np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])).value == pytest.approx(2 / 3)
    assert order_kept(prompt, np.array([1.0, 1.0, 2.0]), np.array([1.0, 1.5, 2.0])).value == pytest.approx(2 / 3)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-9, 9), st.integers(1, 50)), min_size=2, max_size=30))
def test_measures_do_not_depend_on_the_order_of_rows(rows):
    prompt, score, length = (np.array(column) for column in zip(*rows, strict=True))
    length = length.astype(float)
    turned = [values[::-1] for values in (prompt, score, length)]
    assert longer_wins(prompt, score, length).n == longer_wins(*turned).n
    if longer_wins(prompt, score, length).n:
        assert longer_wins(prompt, score, length).value == pytest.approx(longer_wins(*turned).value)


def test_spread_is_pooled_over_prompts_and_blind_to_their_means():
    score = np.array([1.0, 3.0, NAN, 11.0, 13.0, 12.0])
    assert spread_within(PROMPT, score) == pytest.approx(np.sqrt((2 + 2) / (1 + 2)))
    assert np.isnan(spread_within(np.array([0, 1]), np.array([1.0, 2.0])))


def test_standardised_scores_are_distances_from_the_prompts_mean():
    assert standardise_within(np.array([0, 0, 1]), np.array([1.0, 3.0, 9.0])) == pytest.approx(
        [-(2**-0.5), 2**-0.5, 0.0]
    )


def test_a_judge_that_always_takes_the_first_is_never_consistent():
    position = measure_position(np.array([0, 1, 2]), np.ones(3), np.ones(3))
    assert position.consistent.value == 0
    assert position.first_preferred.value == 1


def test_a_judge_blind_to_order_is_consistent_and_prefers_no_place():
    # Answer one is the better one in the first duel, the worse one in the second, and ties in the third.
    position = measure_position(np.array([0, 1, 2]), np.array([0.9, 0.2, 0.5]), np.array([0.1, 0.7, 0.5]))
    assert position.consistent.value == 1
    assert position.first_preferred.value == 0.5


def test_a_duel_without_one_of_its_verdicts_says_nothing_of_consistency():
    position = measure_position(np.array([0, 1]), np.array([1.0, NAN]), np.array([0.0, 1.0]))
    assert position.consistent.n == 1
    assert position.consistent.value == 1
    assert position.first_preferred.n == 2


def test_self_preference_is_a_difference_of_false_positive_rates():
    # Each prompt has an answer of the judge's own family (first) and one of another.
    prompt = np.repeat(np.arange(4), 2)
    own = np.tile([True, False], 4)
    score = np.tile([1.0, 0.0], 4)  # it always prefers its own
    pairs = pairs_within(prompt)
    gold = np.array([1, 1, -1, -1])  # and is wrong in half of the prompts
    assert own_preferred_wrongly(prompt, score, gold, own, pairs).value == 1.0
    assert own_preferred_wrongly(prompt, -score, gold, own, pairs).value == -1.0
    fair = np.array([1, 0, 1, 0, 0, 1, 0, 1])
    assert own_preferred_wrongly(prompt, fair, gold, own, pairs).value == 0.0


def test_pairs_within_a_family_say_nothing_of_self_preference():
    prompt = np.zeros(2, dtype=int)
    found = own_preferred_wrongly(
        prompt, np.array([1.0, 0.0]), np.array([1]), np.array([True, True]), pairs_within(prompt)
    )
    assert found.n == 0


def test_own_gap_is_measured_within_prompts():
    prompt, own = np.repeat([0, 1, 2], 2), np.array([True, False, True, False, True, True])
    score = np.array([3.0, 1.0, 103.0, 101.0, 50.0, 50.0])
    assert own_gap(prompt, score, own).value == pytest.approx(2 / spread_within(prompt, score))
    assert own_gap(prompt, score, own).n == 2


def test_wins_halve_ties_and_pass_on_what_is_missing():
    assert wins(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])).tolist() == [0, 0.5, 1]
    assert np.isnan(wins(np.array([NAN, 1.0]), np.array([1.0, NAN]))).all()
