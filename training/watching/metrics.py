"""What is logged of a step: the log-probs of some pairs in, means over all its pairs out, whatever the micro-batches.

TRL averages every metric over micro-batches alike, and over whatever it logged in between. Here each is the mean over
what it counts: pairs, tokens of the chosen answers, or of all answers; so a step has the metrics of one big batch.

`kl_ref/answer` and `kl_ref/token` (nats) are the mean of log ref - log pi over the answers that the reference wrote
itself. Over fresh samples at temperature 1 that is KL(ref || pi). A judge has picked these answers out of several and
the loss pulls at them, so on trained pairs it tells how far the policy has moved on them, no more; the held-out one is
free of the second fault. Without a reference, or an answer of its own, there is none.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from training.losses.pairs import Pairs, Side

if TYPE_CHECKING:
    import torch

# Rewards of equal policies differ by rounding; such a pair counts half in the accuracy, not at random.
_TIE = 1e-5
# What TRL's own metrics are means over; the others are means over pairs.
_COUNTED = {
    "entropy": ("chosen_tokens", "rejected_tokens"),
    "logits/chosen": ("chosen_tokens",),
    "logits/rejected": ("rejected_tokens",),
    "mean_token_accuracy": ("chosen_tokens",),
}
_MEANS = {
    "rewards/chosen": ("chosen_reward", "pairs"),
    "rewards/rejected": ("rejected_reward", "pairs"),
    "rewards/margins": ("margin", "pairs"),
    "rewards/accuracies": ("right", "pairs"),
    "logps/chosen": ("chosen_logp", "pairs"),
    "logps/rejected": ("rejected_logp", "pairs"),
    "token_logps/chosen": ("chosen_logp", "chosen_tokens"),
    "token_logps/rejected": ("rejected_logp", "rejected_tokens"),
    "kl_ref/answer": ("kl_ref", "ref_answers"),
    "kl_ref/token": ("kl_ref", "ref_tokens"),
}

Sums = Mapping[str, float]
"""Sums over the pairs of a micro-batch, and what they are divided by."""


class StepMetrics:
    """The metrics of a step, micro-batch by micro-batch."""

    def __init__(self) -> None:
        self._batches: list[Sums] = []

    def add(
        self,
        pairs: Pairs,
        rewards: "tuple[torch.Tensor, torch.Tensor]",
        counted: "torch.Tensor",
        by_reference: "tuple[torch.Tensor, torch.Tensor] | None",
        over_processes: "Callable[[torch.Tensor], torch.Tensor]",
    ) -> None:
        """Take a micro-batch.

        Args:
            pairs: Log-probs of the pairs.
            rewards: Implicit rewards of the chosen and the rejected answers, shape `(pairs,)` each.
            counted: 1 for each pair that is one, 0 for one that fills a batch up, shape `(pairs,)`.
            by_reference: 1 for each answer that the reference wrote, else 0, shape `(pairs,)` each; None where nobody
                knows.
            over_processes: Sums a tensor over all processes.
        """
        import torch

        sums = _batch_sums(pairs, rewards, counted.double(), by_reference)
        values = over_processes(torch.stack(list(sums.values()))).tolist()
        self._batches.append(dict(zip(sums, values, strict=True)))

    def settle(self, logged: dict[str, list[float]]) -> None:
        """Put the step's means in place of TRL's values, one a micro-batch, and forget the step."""
        for name, values in logged.items():
            if len(values) == len(self._batches):
                values[:] = [_average(name, values, self._batches)]
        logged.update({name: [value] for name, value in _means(self._batches).items()})
        self._batches.clear()


def _batch_sums(
    pairs: Pairs,
    rewards: "tuple[torch.Tensor, torch.Tensor]",
    counted: "torch.Tensor",
    by_reference: "tuple[torch.Tensor, torch.Tensor] | None",
) -> "dict[str, torch.Tensor]":
    chosen, rejected = (reward.detach().double() for reward in rewards)
    margin = chosen - rejected
    sums = {
        "pairs": counted.sum(),
        "chosen_reward": (chosen * counted).sum(),
        "rejected_reward": (rejected * counted).sum(),
        "margin": (margin * counted).sum(),
        "right": (((margin > _TIE).double() + (margin >= -_TIE).double()) / 2 * counted).sum(),
    }
    for name, side in (("chosen", pairs.chosen), ("rejected", pairs.rejected)):
        sums[f"{name}_logp"] = (side.total.detach().double() * counted).sum()
        sums[f"{name}_tokens"] = (side.mask.double().sum(dim=1) * counted).sum()
    if by_reference is not None:
        sums |= _reference_sums(
            [(pairs.chosen, by_reference[0] * counted), (pairs.rejected, by_reference[1] * counted)]
        )
    return sums


def _reference_sums(sides: "list[tuple[Side, torch.Tensor]]") -> "dict[str, torch.Tensor]":
    parts = [
        {
            "kl_ref": (-side.ratio.detach().double() * mine).sum(),
            "ref_answers": mine.sum(),
            "ref_tokens": (side.mask.double().sum(dim=1) * mine).sum(),
        }
        for side, mine in sides
    ]
    return {name: parts[0][name] + parts[1][name] for name in parts[0]}


def _means(batches: Sequence[Sums]) -> dict[str, float]:
    """Give the means over all micro-batches; those of nothing are left out."""
    total = {name: sum(sums[name] for sums in batches) for name in batches[0]}
    return {name: total[top] / total[below] for name, (top, below) in _MEANS.items() if total.get(below)}


def _average(name: str, values: Sequence[float], batches: Sequence[Sums]) -> float:
    """Average one of TRL's own metrics over micro-batches, by what it is a mean over."""
    weights = [sum(sums[count] for count in _COUNTED.get(name, ("pairs",))) for sums in batches]
    total = sum(weights)  # 0 where a process has nothing but what fills a batch up
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / total if total else 0.0
