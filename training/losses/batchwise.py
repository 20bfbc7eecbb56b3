"""Losses that look at a whole batch: a beta that follows it, and distributions instead of single pairs."""

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from training.losses.loss import Loss, LossFields, Moment, State
from training.losses.pairs import Pairs
from training.losses.terms import softplus

if TYPE_CHECKING:
    import torch

_LEAST_BETA = 1e-3  # of the authors' code
# Nats. Where all log-ratios are equal, as before the first step, rounding would else decide which pairs are kept.
_LEAST_SPREAD = 1e-2


class BetaDpoConfig(LossFields, frozen=True):
    """beta-DPO (arXiv 2407.08639): beta follows the batch's mean log-ratio gap, and unusual pairs are left out."""

    name: Literal["beta_dpo"]
    beta: float = Field(default=0.1, gt=0)
    """Strength of the tie to the reference for a batch of average gap; higher keeps the policy closer to it."""
    alpha: float = Field(default=0.6, ge=0)
    """How far beta follows the gap, per nat; 0 keeps it constant. The paper uses 0.6."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Weight of the past in the running mean and spread of the gap; higher forgets more slowly."""
    keep: float = Field(default=0.8, gt=0, le=1)
    """Share of a batch that is trained on, drawn by how near its gap is to the running mean; 1 takes all."""


def beta_dpo(pairs: Pairs, config: BetaDpoConfig, moment: Moment) -> "torch.Tensor":
    """Give -log sigmoid(b (h_w - h_l)) of the drawn pairs, b = beta (1 + alpha (their mean gap - M0)), detached.

    Gap = h_w - h_l, not scaled by beta, as in the authors' code; b is at least 1e-3. M0 and the spread of the gap are
    running means that already hold this batch. Pairs are drawn without replacement with weights
    exp(-(gap - M0)^2 / (2 spread^2)) (arXiv 2407.08639), by seed and step. Those left out have loss 0, the
    others are scaled up, so that the mean over the batch is the mean over those drawn.
    """
    import torch

    gap = pairs.difference.detach()
    state = move_beta_dpo(pairs, config, moment)
    drawn = torch.from_numpy(_draw(gap.double().cpu().numpy(), state, config.keep, moment)).to(gap.device)
    beta = config.beta * (1 + config.alpha * (gap[drawn].mean() - state["gap_mean"]))
    losses = softplus(-beta.clamp(min=_LEAST_BETA) * pairs.difference)
    return losses * drawn * (len(gap) / drawn.sum())


def move_beta_dpo(pairs: Pairs, config: BetaDpoConfig, moment: Moment) -> State:
    """Take a batch into the running mean and spread of the gap, which start from 0."""
    gap = pairs.difference.detach().double()
    now = {"gap_mean": float(gap.mean()), "gap_std": float(gap.std()) if len(gap) > 1 else 0.0}
    return {name: config.momentum * moment.state[name] + (1 - config.momentum) * value for name, value in now.items()}


def _draw(gap: np.ndarray, state: State, keep: float, moment: Moment) -> np.ndarray:
    """Say which pairs are drawn; Gumbel noise on log-weights draws by weight, also where all weights are near 0."""
    rng = np.random.default_rng([moment.seed, moment.step])
    distance = (gap - state["gap_mean"]) / max(state["gap_std"], _LEAST_SPREAD)
    order = np.argsort(-(rng.gumbel(size=len(gap)) - distance**2 / 2), kind="stable")
    drawn = np.zeros(len(gap), dtype=bool)
    drawn[order[: max(1, int(len(gap) * keep))]] = True
    return drawn


# No value at the reference: where pairs weigh differently, it depends on which are drawn.
BETA_DPO = Loss(
    beta_dpo,
    whole_batch=lambda _: True,
    initial=lambda _: {"gap_mean": 0.0, "gap_std": 0.0},
    move=move_beta_dpo,
)


class AotConfig(LossFields, frozen=True):
    """AOT for pairs (arXiv 2406.05882): the policy's margins dominate the reference's, quantile by quantile."""

    name: Literal["aot"]
    beta: float = Field(default=0.1, gt=0)
    """Strength of the tie to the reference; higher keeps the policy closer to it."""


def aot(pairs: Pairs, config: AotConfig, moment: Moment) -> "torch.Tensor":  # noqa: ARG001
    """Give -log sigmoid(beta (u_(i) - v_(i))), u = log pi_w - log pi_l, v = log ref_w - log ref_l, sorted each.

    The loss of a rank stands at the pair that has this rank under the policy (arXiv 2406.05882).
    """
    policy = pairs.chosen.total - pairs.rejected.total
    reference = pairs.chosen.ref - pairs.rejected.ref
    return softplus(config.beta * (_by_rank(reference, policy) - policy))


AOT = Loss(
    aot,
    at_reference=lambda _: math.log(2),
    trl=lambda config: {"loss_type": ["aot"], "beta": config.beta},
    whole_batch=lambda _: True,
)


class AotUnpairedConfig(LossFields, frozen=True):
    """AOT without pairs (arXiv 2406.05882): rewards of chosen answers dominate those of rejected ones by quantile."""

    name: Literal["aot_unpaired"]
    beta: float = Field(default=0.1, gt=0)
    """Strength of the tie to the reference; higher keeps the policy closer to it."""


def aot_unpaired(pairs: Pairs, config: AotUnpairedConfig, moment: Moment) -> "torch.Tensor":  # noqa: ARG001
    """Give -log sigmoid(beta (h_w(i) - h_l(i))), both sorted; the loss of a rank stands at its chosen answer."""
    return softplus(config.beta * (_by_rank(pairs.rejected.ratio, pairs.chosen.ratio) - pairs.chosen.ratio))


AOT_UNPAIRED = Loss(
    aot_unpaired,
    at_reference=lambda _: math.log(2),
    trl=lambda config: {"loss_type": ["aot_unpaired"], "beta": config.beta},
    whole_batch=lambda _: True,
)


def _by_rank(values: "torch.Tensor", like: "torch.Tensor") -> "torch.Tensor":
    """Put values in the order that `like` has."""
    ranks = like.detach().argsort().argsort()
    return values.sort().values[ranks]
