"""Couples of candidates: what a pairing rule offers, before anybody has said which of them may be pairs.

Entries of a pool lie prompt by prompt, and so do couples; work is done on whole columns.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from judging.pairing.joined import Bools, Floats, Ints, Joined


@dataclass(frozen=True)
class Pool:
    """What a rule picks from: scored candidates, prompt by prompt.

    Attributes:
        joined: The candidates.
        value: What the rule ranks by: the score, less a price for length where that is wanted.
        eligible: Which of them may be chosen.
    """

    joined: Joined
    value: Floats
    eligible: Bools

    @cached_property
    def starts(self) -> Ints:
        """Where each prompt begins."""
        return np.flatnonzero(np.diff(self.joined.prompt, prepend=-1))

    @cached_property
    def sizes(self) -> Ints:
        """How many candidates each prompt has."""
        return np.diff(self.starts, append=self.value.size)

    @cached_property
    def group(self) -> Ints:
        """The prompt of each candidate, numbered from 0."""
        return np.repeat(np.arange(self.starts.size), self.sizes)


@dataclass(frozen=True)
class Offer:
    """Couples that a rule would pair.

    Attributes:
        chosen: Entries of the pool, prompt by prompt.
        rejected: Likewise.
        keys: Order in which a prompt's couples are taken: the smallest first, the first key first. The last one has no
            ties within a prompt.
    """

    chosen: Ints
    rejected: Ints
    keys: list[Floats]


def pick_smallest(starts: Ints, keys: list[Floats], alive: Bools) -> Ints:
    """Give the row of each group whose keys are the smallest, the first key first; groups without one alive have none.

    Args:
        starts: Where each group begins.
        keys: Columns; the last one has no ties within a group.
        alive: Rows that count.
    """
    if not starts.size:
        return np.empty(0, dtype=np.int64)
    sizes = np.diff(starts, append=alive.size)
    alive = alive.copy()
    for key in keys:
        smallest = np.minimum.reduceat(np.where(alive, key, np.inf), starts)
        alive &= key == np.repeat(smallest, sizes)
    return np.flatnonzero(alive)


def pick_first(group: Ints, keys: list[Floats], alive: Bools, most: int | None) -> Ints:
    """Give the rows of each group in the order of their keys, at most so many of a group.

    Args:
        group: Group of each row, ascending.
        keys: Columns; the last one has no ties within a group.
        alive: Rows that count.
        most: None = all of them.
    """
    if most == 1:
        return pick_smallest(np.flatnonzero(np.diff(group, prepend=-1)), keys, alive)
    rows = np.flatnonzero(alive)
    rows = rows[np.lexsort((*(key[rows] for key in reversed(keys)), group[rows]))]
    return rows if most is None else rows[count_up(group[rows]) < most]


def count_up(group: Ints) -> Ints:
    """Number the rows of each group from 0; `group` ascends."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    return np.arange(group.size) - np.repeat(starts, np.diff(starts, append=group.size))


def pair_best_with_rest(pool: Pool, tie_rule: str) -> tuple[Ints, Ints]:
    """Couple each prompt's highest value among those that may be chosen with all others: chosen, rejected."""
    tie = pool.joined.draw if tie_rule == "random" else pool.joined.length.astype(np.float64)
    index = np.arange(pool.value.size, dtype=np.float64)
    best = np.full(pool.starts.size, -1)
    picked = pick_smallest(pool.starts, [-pool.value, tie, index], pool.eligible)
    best[pool.group[picked]] = picked
    chosen = best[pool.group]
    rejected = np.flatnonzero((chosen >= 0) & (chosen != np.arange(chosen.size)))
    return chosen[rejected], rejected


def tie_keys(pool: Pool, chosen: Ints, rejected: Ints, tie_rule: str) -> list[Floats]:
    """Order equals among the rejected: closest in length to the chosen first, of those the last sample."""
    index = -rejected.astype(np.float64)
    if tie_rule == "random":
        return [pool.joined.draw[rejected], index]
    gap = np.abs(pool.joined.length[rejected] - pool.joined.length[chosen]).astype(np.float64)
    return [gap, index]


def cross(pool: Pool, is_chosen: Bools, is_rejected: Bools) -> tuple[Ints, Ints]:
    """Couple every candidate of one kind with every one of the other kind of its prompt: chosen, rejected."""
    left, right = np.flatnonzero(is_chosen), np.flatnonzero(is_rejected)
    n_right = np.bincount(pool.group[right], minlength=pool.starts.size)
    first_right = np.cumsum(n_right) - n_right
    counts = n_right[pool.group[left]]
    chosen = np.repeat(left, counts)
    offset = np.arange(chosen.size) - np.repeat(np.cumsum(counts) - counts, counts)
    rejected = right[first_right[pool.group[chosen]] + offset]
    differ = chosen != rejected
    return chosen[differ], rejected[differ]


def deal(pool: Pool, chosen: Ints, rejected: Ints) -> Floats:
    """Order couples at random such that every candidate comes up before one comes up twice, as cards are dealt.

    Both sides are shuffled and laid side by side, the shorter one again and again, each time shifted by one.
    """
    a, n_a = _shuffled(pool, chosen)
    b, n_b = _shuffled(pool, rejected)
    short, long = np.minimum(n_a, n_b), np.maximum(n_a, n_b)
    layer = np.where(n_a <= n_b, a - b, b - a) % np.maximum(short, 1)
    return (layer * long + np.where(n_a <= n_b, b, a)).astype(np.float64)


def _shuffled(pool: Pool, entries: Ints) -> tuple[Ints, Ints]:
    """Give each entry's place among the distinct ones of its prompt, in the order of their draws, and their number."""
    distinct = np.unique(entries)
    group = pool.group[distinct]
    order = np.lexsort((distinct, pool.joined.draw[distinct], group))
    place = np.zeros(pool.value.size, dtype=np.int64)
    place[distinct[order]] = count_up(group[order])
    number = np.bincount(group, minlength=pool.starts.size)
    return place[entries], number[pool.group[entries]]
