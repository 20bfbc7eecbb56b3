"""The loss formulas against numbers from the papers' own sources."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import DpoConfig, SimpoConfig
from training.losses import dpo_loss, simpo_loss
from training.objective import PairValues, objective_of

FIXTURES = json.loads((Path(__file__).parent / "loss_fixtures.json").read_text())
CASES = sorted(FIXTURES["cases"])
SIDES = ("chosen", "rejected")


def loss_of(name, tokens):
    """A loss of one pair from token log-probs, torch or NumPy, of shape (1,)."""
    sums = {key: value.reshape(1, -1).sum(1) for key, value in tokens.items()}
    params = FIXTURES["losses"][name]["params"]
    if name == "dpo":
        return dpo_loss(*(sums[f"{who}_{side}"] for who in ("policy", "ref") for side in SIDES), **params)
    lengths = [len(tokens[f"policy_{side}"]) for side in SIDES]
    return simpo_loss(sums["policy_chosen"], sums["policy_rejected"], *lengths, **params)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["dpo", "simpo"])
def test_loss_and_gradient_are_those_of_the_original_sources(name, case):
    tokens = {key: torch.tensor(value, dtype=torch.float64) for key, value in FIXTURES["cases"][case].items()}
    tokens["policy_chosen"].requires_grad_()
    tokens["policy_rejected"].requires_grad_()
    expected = FIXTURES["losses"][name]["expected"][case]

    loss = loss_of(name, tokens)
    loss.backward()

    assert loss.item() == pytest.approx(expected["loss"], abs=1e-7)
    assert tokens["policy_chosen"].grad[0].item() == pytest.approx(expected["grad_chosen_tok0"], abs=1e-6)
    assert tokens["policy_rejected"].grad[0].item() == pytest.approx(expected["grad_rejected_tok0"], abs=1e-6)


@pytest.mark.parametrize("name", ["dpo", "simpo"])
def test_numpy_gives_what_torch_gives(name):
    tokens = FIXTURES["cases"]["A_chosen_longer"]
    in_numpy = loss_of(name, {key: np.array(value) for key, value in tokens.items()})
    in_torch = loss_of(name, {key: torch.tensor(value, dtype=torch.float64) for key, value in tokens.items()})
    assert in_numpy == pytest.approx(in_torch.item(), abs=1e-12)


def test_dpo_is_ln_2_where_policy_and_reference_agree():
    sums = np.array([-3.0, -40.0])
    assert dpo_loss(sums, sums - 5, sums, sums - 5, beta=0.1) == pytest.approx([math.log(2)] * 2)


def test_swapping_the_answers_changes_dpo_by_beta_times_the_margin():
    policy, ref = (np.array([-3.0]), np.array([-5.0])), (np.array([-4.0]), np.array([-4.5]))
    right = dpo_loss(policy[0], policy[1], ref[0], ref[1], beta=0.5)
    swapped = dpo_loss(policy[1], policy[0], ref[1], ref[0], beta=0.5)
    assert right - swapped == pytest.approx([-0.5 * 1.5])


def test_a_hopeless_pair_overflows_nothing():
    far = np.array([-1e5])
    assert dpo_loss(far, 0 * far, 0 * far, 0 * far, beta=0.1) == pytest.approx([1e4])


def test_simpo_takes_gamma_as_a_share_of_beta():
    objective = objective_of(SimpoConfig(name="simpo", beta=2.5, gamma_beta_ratio=0.55))
    policy, lengths = PairValues(np.array([-3.5]), np.array([-2.5])), PairValues(np.array([5.0]), np.array([3.0]))
    assert objective.loss(policy, policy, lengths) == pytest.approx([1.34389203], abs=1e-7)


def test_simpo_reference_column_holds_the_margin():
    objective = objective_of(SimpoConfig(name="simpo", beta=2.0, gamma_beta_ratio=0.5))
    reference = objective.reference(PairValues(np.array([5.0]), np.array([8.0])))
    assert reference.chosen.tolist() == [0.0]
    assert reference.rejected.tolist() == [-4.0]  # -gamma |l| / beta = -1 * 8 / 2


def test_dpo_takes_its_reference_from_a_policy():
    assert objective_of(DpoConfig(name="dpo")).reference is None
