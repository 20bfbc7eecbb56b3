"""Several pairs of one group in, the rank of each in its group out."""

import numpy as np

from filtering.filter import Ints


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
