"""Means and intervals over prompts."""

import numpy as np
import pytest

from evaluation.bootstrap import bootstrap_mean, bootstrap_sums


def test_equal_values_have_an_interval_without_width():
    interval = bootstrap_mean(np.full(7, 0.5), n=100, seed=0)
    assert (interval.mean, interval.low, interval.high) == (0.5, 0.5, 0.5)


def test_interval_of_coin_flips_is_two_standard_errors_wide_on_each_side():
    flips = np.tile([0.0, 1.0], 200)
    interval = bootstrap_mean(flips, n=4000, seed=0)
    half_width = 1.96 * 0.5 / np.sqrt(400)
    assert interval.mean == 0.5
    assert interval.high - 0.5 == pytest.approx(half_width, rel=0.06)
    assert 0.5 - interval.low == pytest.approx(half_width, rel=0.06)


def test_unscored_prompts_are_left_out_and_counted():
    interval = bootstrap_mean(np.array([0.2, np.nan, 0.4, np.nan, np.nan]), n=100, seed=0)
    assert interval.mean == pytest.approx(0.3)
    assert (interval.n_prompts, interval.n_unscored) == (2, 3)
    assert interval.low >= 0.2


def test_no_scored_prompt_raises():
    with pytest.raises(ValueError, match="None of 3 prompts has a value"):
        bootstrap_mean(np.full(3, np.nan), n=100, seed=0)


def test_same_seed_gives_the_same_interval_and_negated_values_mirror_it():
    values = np.random.default_rng(1).normal(size=300)
    first, again, mirrored = (bootstrap_mean(v, n=500, seed=3) for v in (values, values, -values))
    assert first == again
    assert (mirrored.mean, mirrored.low, mirrored.high) == pytest.approx((-first.mean, -first.high, -first.low))


def test_many_prompts_are_resampled_in_chunks():
    values = np.tile([0.0, 1.0], 600_000)
    interval = bootstrap_mean(values, n=100, seed=0)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(values.size), rel=0.4)


def _ratio(sums):
    with np.errstate(invalid="ignore"):
        return sums[..., 0] / sums[..., 1]


def _mean_absolute(sums):
    return np.abs(sums[..., :-1]).sum(axis=-1) / sums[..., -1]


def test_a_mean_written_as_sums_has_the_interval_of_a_mean():
    values = np.random.default_rng(0).normal(size=400)
    whole = bootstrap_mean(values, n=4000, seed=0)
    sums = bootstrap_sums(np.stack([values, np.ones(400)], axis=1), _ratio, n=4000, seed=0)
    assert sums.mean == pytest.approx(whole.mean)
    assert (sums.low, sums.high) == pytest.approx((whole.low, whole.high), abs=0.01)
    assert sums.n_prompts == 400


def test_prompts_are_resampled_whole():
    rng = np.random.default_rng(0)
    of_prompt = rng.normal(size=50)
    one_each = np.stack([of_prompt, np.ones(50)], axis=1)
    ten_alike = 10 * one_each  # ten answers that say the same know no more than one
    intervals = [bootstrap_sums(sums, _ratio, n=1000, seed=0) for sums in (one_each, ten_alike)]
    assert intervals[0].low == pytest.approx(intervals[1].low)
    assert intervals[0].high == pytest.approx(intervals[1].high)


def test_a_figure_that_grows_with_noise_lies_in_its_own_interval():
    # Each bin's differences cancel, so the figure is 0 where resamples are not.
    noise = np.repeat(np.array([[1.0, -1.0], [-1.0, 1.0]]), 30, axis=0)
    interval = bootstrap_sums(np.column_stack([noise, np.ones(60)]), _mean_absolute, n=1000, seed=0)
    assert interval.low <= interval.mean <= interval.high
    assert interval.mean == 0


def test_sums_that_determine_no_figure_have_no_interval():
    assert bootstrap_sums(np.zeros((3, 2)), _ratio, n=10, seed=0) is None
    assert bootstrap_sums(np.zeros((0, 2)), _ratio, n=10, seed=0) is None


def test_resamples_that_determine_no_figure_are_left_out():
    sums = np.array([[1.0, 1.0], [0.0, 0.0]])
    interval = bootstrap_sums(sums, _ratio, n=200, seed=0)
    assert (interval.low, interval.mean, interval.high) == (1, 1, 1)
