"""What a preference loss is computed from: the log-probs of both answers of some pairs, and what else it asks for.

Symbols in all losses: w = chosen, l = rejected, log pi = an answer's log-prob under the policy, log ref = the same
under the reference, |y| = tokens of an answer, the stop token included; h = log pi - log ref. All in nats.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Side:
    """One answer of each pair.

    Attributes:
        tokens: Token log-probs under the policy, shape `(pairs, positions)`, zero outside the answer; gradients flow
            through it.
        mask: Where the answer is, truth values of the same shape; it may stand anywhere in its row.
        ref: Sum of the answer's log-probs under the reference, shape `(pairs,)`; zero for losses without reference.
        ref_shared: The same over the first min(|w|, |l|) tokens; None unless the loss asks for it.
        sum_sq: log sum_v p_v^2 of the policy's next-token distribution at each position, shape `(pairs, positions)`,
            without gradient; None unless the loss asks for it.
    """

    tokens: "torch.Tensor"
    mask: "torch.Tensor"
    ref: "torch.Tensor"
    ref_shared: "torch.Tensor | None" = None
    sum_sq: "torch.Tensor | None" = None

    @cached_property
    def total(self) -> "torch.Tensor":
        """Log pi, the sum over the answer, shape `(pairs,)`."""
        return self.tokens.sum(dim=1)

    @cached_property
    def length(self) -> "torch.Tensor":
        """|y|, shape `(pairs,)`; at least 1."""
        return self.mask.sum(dim=1).clamp(min=1)

    @cached_property
    def mean(self) -> "torch.Tensor":
        """Log pi / |y|."""
        return self.total / self.length

    @cached_property
    def ratio(self) -> "torch.Tensor":
        """H = log pi - log ref."""
        return self.total - self.ref

    @cached_property
    def mean_ratio(self) -> "torch.Tensor":
        """H / |y|."""
        return self.ratio / self.length


@dataclass(frozen=True)
class Pairs:
    """Some pairs, as a loss sees them.

    Attributes:
        chosen: The better answers.
        rejected: The others.
        columns: What the pairs' table says and the loss asks for, shape `(pairs,)` each, by column name.
        mismatched: h of an answer to another prompt, shape `(pairs,)`, without gradient; None unless the loss asks.
    """

    chosen: Side
    rejected: Side
    columns: Mapping[str, "torch.Tensor"] = field(default_factory=dict)
    mismatched: "torch.Tensor | None" = None

    @cached_property
    def difference(self) -> "torch.Tensor":
        """h_w - h_l, shape `(pairs,)`."""
        return self.chosen.ratio - self.rejected.ratio
