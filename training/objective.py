"""From the recipe's loss to what TRL is told, what stands in its reference columns, and what it is checked against.

A new loss is one function here, one line in the dict below, and its formula in `training.losses`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any  # arguments of an untyped library; arrays of NumPy or torch

import numpy as np

from training.config import DpoConfig, LossConfig, SimpoConfig
from training.losses import dpo_loss, simpo_loss


@dataclass(frozen=True)
class PairValues:
    """One number for either answer of each pair, both of shape `(pairs,)`: log-prob sums in nats, or token counts."""

    chosen: np.ndarray
    rejected: np.ndarray

    def take(self, rows: np.ndarray) -> "PairValues":
        """Pick pairs by row number."""
        return PairValues(self.chosen[rows], self.rejected[rows])


@dataclass(frozen=True)
class Objective:
    """One preference loss.

    Attributes:
        arguments: What TRL's DPOConfig is told.
        reference: What stands in TRL's reference columns, from the answers' token counts; None = log-probs of the
            reference policy.
        loss: The formula on its own: policy log-probs, reference log-probs, token counts -> losses of shape `(pairs,)`.
        rewards: Implicit rewards where TRL would log something else: log-prob sums and token counts ->
            rewards, all of shape `(answers,)`; None = TRL's.
    """

    arguments: dict[str, Any]
    reference: Callable[[PairValues], PairValues] | None
    loss: Callable[[PairValues, PairValues, PairValues], np.ndarray]
    rewards: Callable[[Any, Any], Any] | None


def objective_of(config: LossConfig) -> Objective:
    """Give the objective that a recipe names."""
    return _OBJECTIVES[config.name](config)


def _dpo(config: DpoConfig) -> Objective:
    return Objective(
        arguments={"loss_type": ["sigmoid"], "beta": config.beta},
        reference=None,
        loss=lambda policy, reference, _: dpo_loss(
            policy.chosen, policy.rejected, reference.chosen, reference.rejected, config.beta
        ),
        rewards=None,
    )


def _simpo(config: SimpoConfig) -> Objective:
    """TRL's `sigmoid_norm` is -log sigmoid(beta ((log pi_w - ref_w) / |w| - (log pi_l - ref_l) / |l|)).

    With ref_w = 0 and ref_l = -gamma |l| / beta that is SimPO's eq. 6; its rewards are then off by a constant.
    """
    gamma = config.gamma_beta_ratio * config.beta
    return Objective(
        arguments={"loss_type": ["sigmoid_norm"], "beta": config.beta},
        reference=lambda lengths: PairValues(0.0 * lengths.chosen, -gamma * lengths.rejected / config.beta),
        loss=lambda policy, _, lengths: simpo_loss(
            policy.chosen, policy.rejected, lengths.chosen, lengths.rejected, config.beta, gamma
        ),
        rewards=lambda logprobs, lengths: config.beta * logprobs / lengths,  # arXiv 2405.14734, eq. 4
    )


_OBJECTIVES: dict[str, Callable[[Any], Objective]] = {"dpo": _dpo, "simpo": _simpo}
