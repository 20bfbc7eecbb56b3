"""A loss and its hyper-parameters, as one training has them."""

from dataclasses import dataclass
from typing import Any  # arguments of an untyped library

from training.losses.loss import Loss, LossFields


@dataclass(frozen=True)
class Objective:
    """A loss with its hyper-parameters."""

    loss: Loss
    config: LossFields

    @property
    def trl_arguments(self) -> dict[str, Any]:
        """What TRL is told; where it lacks the loss it computes DPO's, for its metrics."""
        stand_in = {"loss_type": ["sigmoid"], "beta": getattr(self.config, "beta", 1.0)}
        arguments = self.loss.trl(self.config) if self.loss.trl else stand_in
        return arguments | ({"use_weighting": True} if self.loss.token_stats else {})
