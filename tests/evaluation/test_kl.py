"""KL divergence from samples."""

import numpy as np
import pytest

from evaluation.kl import sequence_kl


def test_figures_of_two_answers_by_hand():
    kl = sequence_kl(np.array([-1.0, -2.0]), np.array([-2.0, -1.5]), np.array([4, 6]))
    assert kl.per_sequence == pytest.approx(0.25)
    assert kl.per_token == pytest.approx(0.05)
    # r - 1 - log r with log r = -1 and 0.5
    assert kl.k3 == pytest.approx(((np.exp(-1) - 1 + 1) + (np.exp(0.5) - 1 - 0.5)) / 2)
    assert kl.n_left_out == 0


def test_equal_policies_are_zero_apart():
    logprobs = np.array([-3.0, -40.0])
    kl = sequence_kl(logprobs, logprobs, np.array([2, 20]))
    assert (kl.per_sequence, kl.per_token, kl.k3) == (0.0, 0.0, 0.0)


def test_samples_of_a_bernoulli_policy_recover_its_divergence():
    policy, reference = 0.7, 0.4
    heads = np.random.default_rng(0).random(200_000) < policy
    logp = np.where(heads, np.log(policy), np.log(1 - policy))
    logq = np.where(heads, np.log(reference), np.log(1 - reference))
    exact = policy * np.log(policy / reference) + (1 - policy) * np.log((1 - policy) / (1 - reference))
    kl = sequence_kl(logp, logq, np.ones(heads.size))
    assert kl.per_sequence == pytest.approx(exact, rel=0.02)
    assert kl.k3 == pytest.approx(exact, rel=0.02)


def test_row_that_the_policy_cannot_have_drawn_is_left_out_of_k3_alone():
    kl = sequence_kl(np.array([-1.0, -900.0]), np.array([-1.0, -2.0]), np.array([1, 1]))
    assert (kl.k3, kl.n_left_out) == (0.0, 1)
    assert kl.per_sequence == -449.0


def test_infinite_log_prob_raises():
    with pytest.raises(ValueError, match="finite log-probs, got 1 in 2 rows"):
        sequence_kl(np.array([-1.0, -np.inf]), np.array([-1.0, -1.0]), np.array([1, 1]))


def test_arrays_of_different_length_raise():
    with pytest.raises(ValueError, match="Shapes differ"):
        sequence_kl(np.zeros(2), np.zeros(3), np.ones(2))
