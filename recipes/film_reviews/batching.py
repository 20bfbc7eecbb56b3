"""Cut a pass over rows of tokens into batches of like length, and set the step size along the pass."""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import torch

_Item = TypeVar("_Item")

_BUCKET = 32  # batches sorted by length together; more would save little padding and cost variety


class Track(Protocol):
    """Shows progress while the batches of a pass go by, as `rich.progress.track` does."""

    def __call__(self, sequence: Sequence[_Item], description: str) -> Iterable[_Item]:
        """Yield each item of the sequence."""
        ...


def bucket_rows(lengths: Sequence[int], batch_size: int, rng: random.Random) -> list[list[int]]:
    """Return batches of row numbers that cover one shuffled pass, rows of like length together."""
    order = rng.sample(range(len(lengths)), len(lengths))
    batches = []
    for first in range(0, len(order), batch_size * _BUCKET):
        bucket = sorted(order[first : first + batch_size * _BUCKET], key=lambda row: lengths[row])
        batches += [bucket[start : start + batch_size] for start in range(0, len(bucket), batch_size)]
    rng.shuffle(batches)
    return batches


def pad_right(rows: Sequence[Sequence[float]], filler: float) -> torch.Tensor:
    """Stack rows of unequal length as `(rows, longest row)`; whole numbers give an integer tensor."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])


def warm_then_cosine(warmup_steps: int, steps: int, floor: float) -> Callable[[int], float]:
    """Return the factor on the peak learning rate at a step: a linear rise, then a half cosine down to the floor."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = (step - warmup_steps) / max(1, steps - warmup_steps)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

    return factor


def warm_then_line(warmup_steps: int, steps: int, floor: float) -> Callable[[int], float]:
    """Return the factor on the peak learning rate at a step: a linear rise, then a line down to the floor."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        return 1 - (1 - floor) * (step - warmup_steps) / max(1, steps - warmup_steps)

    return factor
