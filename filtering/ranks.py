"""Several pairs of one kind in, the best of them kept: a number of each group, or a share of all."""

from typing import Literal

import numpy as np

from filtering.filter import Ints
from filtering.measured import Bools, Context, Floats, Measured


def keep_best(groups: np.ndarray, best_first: Ints, most: int, reason: str, context: Context = "chosen") -> Measured:
    """Keep the best of each group, and hold the others' ranks against the limit; groups within it have no near misses.

    Args:
        groups: A number for each pair, equal where they are of one group.
        best_first: Positions of all pairs, the best first.
        most: Pairs of a group that are kept.
        reason: Why the others are dropped.
        context: The text that the ledger quotes from.
    """
    rank = rank_in_group(groups, best_first)
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return Measured(rank <= most, np.where(counts[group] > most, rank, np.nan), most, reason, context)


def cap_share(
    counted: Bools,
    n_others: int,
    best_first: Ints,
    max_share: float,
    reason: str,
    context: Literal["chosen", "rejected"],
) -> Measured:
    """Bound the share of some pairs among what is kept: the best stay; each has the share up to and including it.

    Args:
        counted: Which pairs the share is of.
        n_others: How many pairs without it are kept.
        best_first: Positions of all pairs, the best first.
        max_share: Highest share, in [0, 1].
        reason: Why the rest of them is dropped.
        context: The text that the ledger quotes from.
    """
    some = best_first[counted[best_first]]
    n_some = np.arange(1, len(some) + 1)
    shares: Floats = np.full(len(counted), np.nan)
    shares[some] = n_some / (n_some + n_others)
    return Measured(~(shares > max_share), shares, max_share, reason, context)


def rank_in_group(groups: np.ndarray, best_first: Ints) -> Ints:
    """Give each pair's rank among those of its group, 1 = the best.

    Args:
        groups: A number for each pair, equal where they are of one group.
        best_first: Positions of all pairs, the best first.
    """
    order = best_first[np.argsort(groups[best_first], kind="stable")]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = groups[order[1:]] != groups[order[:-1]]
    starts = np.flatnonzero(is_first)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order))) + 1
    return rank
