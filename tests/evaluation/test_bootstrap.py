"""Means and intervals over prompts."""

import numpy as np
import pytest

from evaluation.bootstrap import bootstrap_mean


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
