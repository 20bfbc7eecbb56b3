"""SPPO: log-ratios that approach how often an answer wins against the policy's own (arXiv 2405.00675)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from training.losses.loss import Loss, LossFields, Moment
from training.losses.pairs import Pairs

if TYPE_CHECKING:
    import torch


class SppoConfig(LossFields, frozen=True):
    """SPPO with estimated win probabilities (arXiv 2405.00675, eq. 4.7)."""

    name: Literal["sppo"]
    beta: float = Field(default=1e-3, gt=0)
    """1 / eta of the paper: a win rate of 1 aims at a log-ratio of 1 / (2 beta) nats; higher keeps the policy closer to
    the reference."""


def sppo(pairs: Pairs, config: SppoConfig, moment: Moment) -> "torch.Tensor":  # noqa: ARG001
    """Give the mean of (h_w - (P_w - 1/2) / beta)^2 and (h_l - (P_l - 1/2) / beta)^2 (arXiv 2405.00675, eq. 4.7)."""
    chosen = pairs.chosen.ratio - (pairs.columns["chosen_p_win"] - 0.5) / config.beta
    rejected = pairs.rejected.ratio - (pairs.columns["rejected_p_win"] - 0.5) / config.beta
    return (chosen.square() + rejected.square()) / 2


SPPO = Loss(sppo, columns=("chosen_p_win", "rejected_p_win"))


class SppoHardConfig(LossFields, frozen=True):
    """SPPO where the chosen answer always wins and the rejected one never does (TRL's `sppo_hard`)."""

    name: Literal["sppo_hard"]
    beta: float = Field(default=1e-3, gt=0)
    """As in SPPO."""


def sppo_hard(pairs: Pairs, config: SppoHardConfig, moment: Moment) -> "torch.Tensor":  # noqa: ARG001
    """Give (h_w - 1 / (2 beta))^2 + (h_l + 1 / (2 beta))^2: a sum as in TRL, twice SPPO's mean at P = 1 and 0."""
    aim = 0.5 / config.beta
    return (pairs.chosen.ratio - aim).square() + (pairs.rejected.ratio + aim).square()


SPPO_HARD = Loss(
    sppo_hard,
    at_reference=lambda config: 0.5 / config.beta**2,
    trl=lambda config: {"loss_type": ["sppo_hard"], "beta": config.beta},
)
