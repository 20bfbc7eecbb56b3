"""A loss and its hyper-parameters, as one training has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any  # Any: arguments of an untyped library

from training.losses.loss import Loss, LossFields
from training.losses.pairs import Pairs
from training.rows.pair_values import PairValues

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Objective:
    """A loss with its hyper-parameters."""

    loss: Loss
    config: LossFields

    @property
    def by_trl(self) -> bool:
        """Whether TRL's own loss is right, and trained on where all pairs weigh the same."""
        return self._own is not None

    @property
    def trl_arguments(self) -> dict[str, Any]:
        """What TRL is told; where its own loss is not trained on it computes DPO's, for its metrics."""
        own = self._own
        arguments = {"loss_type": ["sigmoid"], "beta": getattr(self.config, "beta", 1.0)} if own is None else own
        return arguments | ({"use_weighting": True} if self.loss.token_stats else {})

    def rewards(self, pairs: Pairs) -> "tuple[torch.Tensor, torch.Tensor]":
        """Give the implicit rewards of the chosen and the rejected answers, shape `(pairs,)` each."""
        chosen, rejected = pairs.chosen, pairs.rejected
        if self.loss.rewards is not None:
            return self.loss.rewards(chosen, self.config), self.loss.rewards(rejected, self.config)
        beta = getattr(self.config, "beta", 1.0)
        return beta * chosen.ratio, beta * rejected.ratio

    def stand_in(self, n_chosen: Sequence[int], n_rejected: Sequence[int]) -> PairValues:
        """Give what stands in TRL's reference columns for a loss without reference.

        Args:
            n_chosen: Token counts of the chosen answers.
            n_rejected: The same of the rejected ones.
        """
        import torch

        chosen, rejected = (torch.tensor(counts, dtype=torch.float64) for counts in (n_chosen, n_rejected))
        shift = self.loss.stand_in or (lambda _, one, other: (0.0 * one, 0.0 * other))
        return PairValues(*(values.numpy() for values in shift(self.config, chosen, rejected)))

    @property
    def _own(self) -> dict[str, Any] | None:
        return None if self.loss.trl is None else self.loss.trl(self.config)
