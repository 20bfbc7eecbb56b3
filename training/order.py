"""The order in which pairs are trained on: a seed and an epoch in, row numbers out.

It depends on nothing else: neither on the micro-batch size nor on what drew random numbers before.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

_LOOK_AHEAD = 64  # groups

Batches = Literal["by_prompt", "by_length", "shuffled"]


@dataclass(frozen=True)
class Order:
    """How the rows of a training follow each other.

    Attributes:
        batches: How pairs come together.
        seed: Seed of the shuffling.
        prompts: Number of each row's prompt, shape `(rows,)`.
        lengths: Tokens of each row, shape `(rows,)`.
        batch_size: Rows of an optimiser step.
    """

    batches: Batches
    seed: int
    prompts: np.ndarray
    lengths: np.ndarray
    batch_size: int

    @property
    def rows(self) -> int:
        """How many rows an epoch has."""
        return len(self.prompts)

    def of_epoch(self, epoch: int) -> np.ndarray:
        """Give the row numbers of one pass, int64, shape `(rows,)`."""
        rng = np.random.default_rng([self.seed, epoch])
        if self.batches == "by_prompt":
            rank = rng.permutation(int(self.prompts.max()) + 1)[self.prompts]
            by_prompt = np.argsort(rank, kind="stable")
            groups = np.split(by_prompt, np.flatnonzero(np.diff(rank[by_prompt])) + 1)
            return np.concatenate(_pack(groups, self.batch_size))
        shuffled = rng.permutation(self.rows)
        if self.batches == "shuffled":
            return shuffled
        by_length = shuffled[np.argsort(-self.lengths[shuffled], kind="stable")]
        blocks = [by_length[start : start + self.batch_size] for start in range(0, self.rows, self.batch_size)]
        # The one short block stays last: elsewhere it would move the borders of all batches after it.
        whole, rest = (blocks[:-1], blocks[-1:]) if self.rows % self.batch_size else (blocks, [])
        return np.concatenate([*(whole[i] for i in rng.permutation(len(whole))), *rest])


def _pack(groups: list[np.ndarray], batch_size: int) -> list[np.ndarray]:
    """Let groups follow each other so that few of them are cut by the border of two batches.

    A batch takes the next group that fits whole among the next few; where none does, the first is cut. Within a batch
    groups of one size stand together, the largest first, so that micro-batches cut few of them too.
    """
    packed: list[np.ndarray] = []
    batch: list[np.ndarray] = []
    waiting, room = deque(groups), batch_size
    while waiting:
        fits = next((i for i, group in enumerate(islice(waiting, _LOOK_AHEAD)) if len(group) <= room), None)
        group = waiting[fits or 0]
        del waiting[fits or 0]
        if fits is None:  # cut: the rest of it stands at the beginning of the next batches
            packed += [*_largest_first(batch), group]
            batch, room = [], batch_size - (len(group) - room) % batch_size
        else:
            batch.append(group)
            room -= len(group)
        if room == 0:
            packed += _largest_first(batch)
            batch, room = [], batch_size
    return packed + _largest_first(batch)


def _largest_first(batch: list[np.ndarray]) -> list[np.ndarray]:
    return sorted(batch, key=len, reverse=True)


def number_prompts(prompt_ids: Sequence[str]) -> np.ndarray:
    """Number prompts by their first row."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(one, len(numbers)) for one in prompt_ids], dtype=np.int64)
