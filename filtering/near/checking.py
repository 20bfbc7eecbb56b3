"""Candidates in, their true Jaccard similarities out: the sets are intersected, not estimated."""

import itertools

import numpy as np

from filtering.filter import Ints
from filtering.measured import Floats
from filtering.near.shingles import Sets

# Numbers held at a time; each takes some 30 bytes on the way.
_MAX_VALUES = 1_000_000


def jaccard(left: Sets, at: Ints, right: Sets, against: Ints) -> Floats:
    """Measure |A and B| / |A or B| of pairs of sets that are not empty.

    Args:
        left: Where the first ones are.
        at: Their rows.
        right: Where the second ones are.
        against: Their rows.
    """
    sizes = left.sizes[at] + right.sizes[against]
    block = np.cumsum(sizes) // _MAX_VALUES
    cuts = [*np.searchsorted(block, np.unique(block)), len(at)]
    shared = np.empty(len(at), dtype=np.int64)
    for begin, end in itertools.pairwise(cuts):
        packed = np.concatenate([_gather(left, at[begin:end]), _gather(right, against[begin:end])])
        packed.sort()
        both = packed[1:][packed[1:] == packed[:-1]] >> np.uint64(32)
        shared[begin:end] = np.bincount(both.astype(np.int64), minlength=end - begin)
    return shared / (sizes - shared)


def _gather(sets: Sets, rows: Ints) -> np.ndarray:
    """Give the numbers of some sets, each below the place of its row among them."""
    sizes = sets.sizes[rows]
    place = np.repeat(np.arange(len(rows)), sizes)
    first = np.repeat(sets.offsets[rows] - (np.cumsum(sizes) - sizes), sizes)
    values = sets.values[first + np.arange(len(place))]
    return place.astype(np.uint64) << np.uint64(32) | values
