"""Losses on log-probs per token, so that a longer answer weighs no more than a short one."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from training.losses.loss import Loss, LossFields, Moment
from training.losses.pairs import Pairs
from training.losses.terms import softplus

if TYPE_CHECKING:
    import torch


class SimpoConfig(LossFields, frozen=True):
    """SimPO (arXiv 2405.14734, eq. 6): length-normalised and without a reference."""

    name: Literal["simpo"]
    beta: float = Field(default=2.0, ge=1, le=20)
    """Scale of the mean log-prob difference; the paper uses 2 to 10 (DPO's 0.1 would do next to nothing)."""
    gamma_beta_ratio: float = Field(default=0.5, ge=0, le=2)
    """Target margin gamma as a multiple of beta; the paper uses 0.1 to 0.8."""


def simpo(pairs: Pairs, config: SimpoConfig, moment: Moment) -> "torch.Tensor":  # noqa: ARG001
    """Give -log sigmoid(beta (log pi_w / |w| - log pi_l / |l|) - gamma) (arXiv 2405.14734, eq. 6)."""
    gamma = config.gamma_beta_ratio * config.beta
    return softplus(gamma - config.beta * (pairs.chosen.mean - pairs.rejected.mean))


def _shifted(
    config: SimpoConfig, n_chosen: "torch.Tensor", n_rejected: "torch.Tensor"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Shift TRL's `sigmoid_norm`, -log sigmoid(beta (h_w / |w| - h_l / |l|)): log ref_l = -gamma |l| / beta."""
    return 0.0 * n_chosen, -config.gamma_beta_ratio * n_rejected


SIMPO = Loss(
    simpo,
    reference=False,
    trl=lambda config: {"loss_type": ["sigmoid_norm"], "beta": config.beta},
    stand_in=_shifted,
    rewards=lambda side, config: config.beta * side.mean,  # arXiv 2405.14734, eq. 4
)
