"""Losses that put a logistic function on the difference of log-ratios: DPO and its nearest kin."""

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from training.losses.loss import Loss, LossFields, Moment
from training.losses.pairs import Pairs
from training.losses.terms import softplus

if TYPE_CHECKING:
    import torch


class DpoConfig(LossFields, frozen=True):
    """Direct Preference Optimization (arXiv 2305.18290, eq. 7)."""

    name: Literal["dpo"]
    beta: float = Field(default=0.1, gt=0)
    """Strength of the tie to the reference; higher keeps the policy closer to it."""


def dpo(pairs: Pairs, config: DpoConfig, moment: Moment) -> "torch.Tensor":  # noqa: ARG001
    """Give -log sigmoid(beta (h_w - h_l)) (arXiv 2305.18290, eq. 7)."""
    return softplus(-config.beta * pairs.difference)


DPO = Loss(
    dpo,
    at_reference=lambda _: math.log(2),
    trl=lambda config: {"loss_type": ["sigmoid"], "beta": config.beta},
)
