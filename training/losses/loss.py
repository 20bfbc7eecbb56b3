"""What a preference loss is to the trainer: its formula, what it asks for, and how TRL computes the same."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any  # configs of the losses, each a type of its own; arguments of an untyped library

from pydantic import BaseModel

from training.losses.pairs import Pairs, Side

if TYPE_CHECKING:
    import torch

State = Mapping[str, float]
"""What a loss remembers from step to step, small numbers by name; stored in checkpoints."""


class LossFields(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False):
    """The hyper-parameters of a loss; each loss adds `name` and its own."""


@dataclass(frozen=True)
class Moment:
    """Where a training stands when a loss is computed.

    Attributes:
        state: What the loss remembers.
        seed: The training's seed.
        step: Optimiser steps done.
    """

    state: State
    seed: int = 0
    step: int = 0


@dataclass(frozen=True)
class Loss:
    """One preference loss.

    Attributes:
        formula: Losses of shape `(pairs,)` from the pairs, the loss's hyper-parameters and the moment. It is pure.
        reference: Whether it needs the reference policy's log-probs.
        at_reference: Its value at policy = reference, whatever the pairs (equal weights, initial state), from the
            hyper-parameters; None = it depends on the pairs.
        trl: What TRL's DPOConfig is told where TRL 1.16 computes the same mean over a batch, from the hyper-parameters;
            None, given or returned = TRL lacks it, or its own differs.
        stand_in: What stands in TRL's reference columns instead of log-probs, from the token counts of chosen and
            rejected answers; None = log-probs of the reference, or zeros where the loss has none.
        rewards: Implicit rewards of one side, shape `(pairs,)`; None = beta h, with beta = 1 where the loss has none
            and h = log pi where it has no reference.
        columns: Columns of `judging.schema.PAIRS` that must be filled; or `aspect_margin`, the weighted sum over some
            aspects of chosen_aspects - rejected_aspects.
        aspect_weights: Weights of the aspects in `aspect_margin` by name, from the hyper-parameters.
        shared: Whether it needs `Side.ref_shared`.
        token_stats: Whether it needs `Side.sum_sq`.
        mismatched: Whether it needs `Pairs.mismatched`.
        whole_batch: Whether a pair's loss depends on the other pairs of its batch, which then must not be split, from
            the hyper-parameters.
        initial: The state before the first step, from the hyper-parameters; None = it remembers nothing.
        move: The state after a step, from the pairs, the hyper-parameters and the moment.
    """

    formula: "Callable[[Pairs, Any, Moment], torch.Tensor]"
    reference: bool = True
    at_reference: Callable[[Any], float] | None = None
    trl: Callable[[Any], dict[str, Any] | None] | None = None
    stand_in: "Callable[[Any, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None" = None
    rewards: "Callable[[Side, Any], torch.Tensor] | None" = None
    columns: tuple[str, ...] = ()
    aspect_weights: Callable[[Any], Mapping[str, float]] | None = None
    shared: bool = False
    token_stats: bool = False
    mismatched: bool = False
    whole_batch: Callable[[Any], bool] = lambda _: False
    initial: Callable[[Any], State] | None = None
    move: Callable[[Pairs, Any, Moment], State] | None = None
