"""Every loss on batches of uneven pairs, through the real trainer: by TRL where it is right, else by the formula."""

import numpy as np
import pytest

from benchmarks.loss_trainer import LossTrainer
from tests.training.losses.cases import config_of, moment_of, pairs_of, random_cases
from training.losses.catalogue import LOSSES
from training.objective import Objective

N = 5
WEIGHTS = [1.0] * N + [0.2, 1.0, 0.7, 0.4, 0.9]
CASES = random_cases(2 * N, seed=4, weights=WEIGHTS)
# Not the defaults where those hide a term: SPPO's aims of 500 nats, DPOP's weight of 50.
FIELDS = {
    "sppo": {"beta": 0.5}, "sppo_hard": {"beta": 0.5}, "dpop": {"penalty": 5.0}, "nca": {"beta": 0.3},
    "wpo": {"beta": 0.3}, "beta_dpo": {"beta": 0.3}, "hinge": {"beta": 0.3},
}  # fmt: skip
VARIANTS = [
    *((name, FIELDS.get(name, {})) for name in LOSSES),
    ("bco", {"shift": False}),
    ("ipo", {"per_token": False}),
    ("wpo", {"beta": 0.3, "max_weight": None}),
    ("preferred_ft", {"per_token": True}),
]
BY_TRL = {
    "dpo", "robust", "hinge", "ipo", "ln_dpo", "simpo", "bco", "apo_zero", "apo_down", "nca", "sppo_hard", "aot",
    "aot_unpaired", "wpo",
}  # fmt: skip


def expected(name, config, cases, weights=None):
    """The mean loss and its gradient by each token, from the formula alone."""
    pairs = pairs_of(cases)
    losses = LOSSES[name].formula(pairs, config, moment_of(name, config))
    weight = np.ones(len(cases)) if weights is None else np.array(weights)
    (losses * losses.new_tensor(weight)).sum().div(weight.sum()).backward()
    mean = float((losses.detach().numpy() * weight).sum() / weight.sum())
    return mean, [gradients(pairs.chosen), gradients(pairs.rejected)]


def gradients(side):
    gradient = np.zeros(side.tokens.shape) if side.tokens.grad is None else side.tokens.grad.numpy()
    return [row[mask] for row, mask in zip(gradient, side.mask.numpy(), strict=True)]


@pytest.mark.parametrize(("name", "fields"), VARIANTS)
def test_batch_has_the_formulas_loss_and_gradient(name, fields, tmp_path):
    config = config_of(name, **fields)
    trainer = LossTrainer(config, CASES, tmp_path)

    for rows in (range(N), range(N, 2 * N)):  # equal weights, unequal weights
        found = trainer.compute(rows)
        loss, (chosen, rejected) = expected(name, config, [CASES[r] for r in rows], [WEIGHTS[r] for r in rows])
        assert found.loss == pytest.approx(loss, abs=1e-8)
        np.testing.assert_allclose(np.concatenate(found.grad_chosen), np.concatenate(chosen), atol=1e-8)
        np.testing.assert_allclose(np.concatenate(found.grad_rejected), np.concatenate(rejected), atol=1e-8)


def test_trl_is_trained_on_where_it_is_right():
    by_trl = {name for name, fields in VARIANTS if Objective(LOSSES[name], config_of(name, **fields)).by_trl}

    assert by_trl == BY_TRL


@pytest.mark.parametrize(
    ("name", "fields"),
    [(name, fields) for name, fields in VARIANTS if not LOSSES[name].whole_batch(config_of(name, **fields))],
)
def test_weighted_batch_is_the_weighted_mean_of_single_pairs(name, fields):
    config = config_of(name, **fields)
    cases, weights = CASES[N:], WEIGHTS[N:]

    loss, _ = expected(name, config, cases, weights)

    singles = [expected(name, config, [case])[0] for case in cases]
    assert loss == pytest.approx(np.average(singles, weights=weights))


@pytest.mark.parametrize("name", ["simpo", "cpo_simpo", "ln_dpo", "orpo"])
def test_logged_rewards_are_by_the_token_where_the_loss_is(name, tmp_path):
    config = config_of(name)
    trainer = LossTrainer(config, CASES[:1], tmp_path)
    trainer.compute([0])
    logged: dict[str, list[float]] = {}
    trainer.trainer._steps["eval"].settle(logged)

    pairs = pairs_of(CASES[:1])
    chosen, rejected = (s.mean_ratio if name == "ln_dpo" else s.mean for s in (pairs.chosen, pairs.rejected))
    scale = config.alpha if name == "orpo" else config.beta
    assert logged["rewards/margins"][0] == pytest.approx(scale * (chosen - rejected).item())
