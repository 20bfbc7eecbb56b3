"""Agreement with gold labels and calibration, on tables and judges whose figures are known."""

import numpy as np
import pytest

from judging.audit.audit_agreement import (
    cohen_kappa,
    fit_slope,
    measure_agreement,
    measure_calibration,
    observed_agreement,
    pairs_of_gold_scores,
)

NAN = float("nan")


def test_kappa_of_the_textbook_table():
    table = np.array([[20, 5], [10, 15]])
    assert observed_agreement(table) == pytest.approx(0.70)
    assert cohen_kappa(table) == pytest.approx(0.40)  # with pe = .50


def test_kappa_is_one_without_and_zero_with_nothing_but_chance():
    assert cohen_kappa(np.diag([3, 4, 5])) == 1
    assert cohen_kappa(np.outer([2, 3, 5], [2, 3, 5])) == pytest.approx(0)


def test_ties_count_as_a_label_when_kept_and_vanish_when_dropped():
    judged, gold = np.array([1.0, 0.5, 0.0, 1.0]), np.array([1.0, 1.0, 0.0, 0.5])
    prompt = np.arange(4)
    kept = measure_agreement(prompt, judged, gold, keep_ties=True)
    assert kept.agreement.value == 0.5
    assert kept.table.sum() == 4
    dropped = measure_agreement(prompt, judged, gold, keep_ties=False)
    assert dropped.agreement.value == 1
    assert dropped.kappa.value == 1
    assert dropped.table.tolist() == [[1, 0], [0, 1]]


def test_which_answer_is_called_the_first_changes_nothing():
    rng = np.random.default_rng(0)
    judged, gold = rng.choice([0, 0.5, 1], 60), rng.choice([0, 0.5, 1], 60)
    flip = rng.random(60) < 0.5
    turned = [np.where(flip, 1 - side, side) for side in (judged, gold)]
    for keep_ties in (True, False):
        one = measure_agreement(np.arange(60) // 3, judged, gold, keep_ties=keep_ties)
        two = measure_agreement(np.arange(60) // 3, *turned, keep_ties=keep_ties)
        assert one.kappa.value == pytest.approx(two.kappa.value)
        assert one.table == pytest.approx(two.table)


def test_labels_are_counted_both_ways_round_so_that_chance_is_a_half():
    gold = np.array([1.0, 1.0, 1.0, 0.0])  # rows happen to put the better one first
    found = measure_agreement(np.arange(4), np.ones(4), gold, keep_ties=False)
    assert found.agreement.value == 0.75
    assert found.kappa.value == pytest.approx(0.5)


def test_unscored_pairs_take_no_part():
    found = measure_agreement(np.arange(3), np.array([1.0, NAN, 0.0]), np.array([1.0, 1.0, 0.0]), keep_ties=True)
    assert found.table.sum() == 2
    assert found.agreement.value == 1


def test_gold_scores_label_every_pair_of_a_prompt_that_has_both():
    gold = pairs_of_gold_scores(np.array([0, 0, 0, 1]), np.array([1.0, 0.0, NAN, 5.0]))
    assert (gold.pairs.first.tolist(), gold.pairs.second.tolist(), gold.label.tolist()) == ([0], [1], [1.0])


def _simulate(n_prompts, slope, believed):
    """Draw labels from sigmoid(slope * gap); the judge states `believed` times the gap."""
    rng = np.random.default_rng(0)
    gap = rng.normal(size=3 * n_prompts)
    gold = (rng.random(len(gap)) < 1 / (1 + np.exp(-slope * gap))).astype(float)
    return np.repeat(np.arange(n_prompts), 3), believed * gap, gold


def test_the_slope_is_found_again_in_the_judges_own_unit():
    _, gap, gold = _simulate(4000, slope=2.0, believed=10.0)
    assert fit_slope(gap, gold) == pytest.approx(0.2, rel=0.05)


def test_the_slope_is_where_the_likelihood_has_no_slope():
    _, gap, gold = _simulate(100, slope=1.0, believed=1.0)
    slope, widest = fit_slope(gap, gold), np.abs(gap).max()
    x, y = np.append(gap, widest), np.append(gold, 0.5)
    assert np.sum((y - 1 / (1 + np.exp(-slope * x))) * x) == pytest.approx(0, abs=1e-6)


def test_a_judge_that_is_always_right_has_a_finite_slope():
    assert 0 < fit_slope(np.array([1.0, 2.0, -1.0]), np.array([1.0, 1.0, 0.0])) < 100


def test_a_judge_whose_gaps_mean_one_thing_is_well_calibrated():
    found = measure_calibration(*_simulate(2000, slope=1.5, believed=3.0))
    assert found.error.value < 0.03
    assert found.slope == pytest.approx(0.5, rel=0.1)
    assert found.counts.sum() == 6000
    assert np.all(np.diff(found.confidence) >= 0)


def test_a_judge_whose_wide_gaps_mean_nothing_is_badly_calibrated():
    prompt, gap, gold = _simulate(2000, slope=3.0, believed=1.0)
    wild = np.where(np.arange(len(gap)) % 3 == 0, -20 * gap, gap)
    assert measure_calibration(prompt, wild, gold).error.value > 0.1


def test_calibration_wants_five_prompts_and_gaps():
    assert measure_calibration(np.arange(4), np.ones(4), np.ones(4)) is None
    assert measure_calibration(np.arange(9), np.zeros(9), np.ones(9)) is None


def test_swapping_all_pairs_changes_no_calibration():
    prompt, gap, gold = _simulate(300, slope=1.0, believed=1.0)
    one, two = measure_calibration(prompt, gap, gold), measure_calibration(prompt, -gap, 1 - gold)
    assert one.error.value == pytest.approx(two.error.value, abs=2e-3)  # the added pair is not swapped
    assert one.right == pytest.approx(two.right, abs=0.05)
