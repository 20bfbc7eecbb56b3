"""Band keys in, pairs of sets that may be similar out, one band at a time and in bounded memory.

Sets with one key of a band are a bucket. In a bucket of up to 64 everyone is compared with everyone. A larger one,
such as thousands of prompts from one template make, is not: that would take the square of its size. There everyone is
compared with the 4 best of the bucket (sets are numbered best first), and the bucket is cut by the keys of the next
bands until at most 16 are left, who are compared with each other. So a set meets at most 64 others a band, and
10,000 prompts of one template take 2 CPU-seconds. The price: in such a bucket two sets are sure to meet only if they
share some bands in a row. Two in a row are shared by 98.9 % of pairs at a similarity of 0.8 and by all at 0.9, three by
78 % and 99.7 %. What a bucket gives hangs on the sets alone, never on the order of rows.
"""

from collections.abc import Callable, Iterator

import numpy as np

from filtering.filter import Ints
from filtering.near.shingles import UInt32s, UInt64s, distinct
from filtering.near.signatures import N_BANDS

MAX_BUCKET = 64
MAX_CUT_BUCKET = 16
N_BEST = 4

ReadKeys = Callable[[int], UInt32s]


def find_candidates(band: int, read_keys: ReadKeys) -> UInt64s:
    """Find the pairs that a band gives.

    Args:
        band: Which one.
        read_keys: Gives the keys of a band for all sets, the best set first.

    Returns:
        Pairs a < b of numbers of sets as a << 32 | b, ascending, each once.
    """
    found = list(_cut(band, read_keys))
    return distinct(np.concatenate(found)) if found else np.empty(0, dtype=np.uint64)


def unpack(codes: UInt64s) -> tuple[Ints, Ints]:
    """Give the two numbers of each pair."""
    return (codes >> np.uint64(32)).astype(np.int64), (codes & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _cut(band: int, read_keys: ReadKeys) -> Iterator[UInt64s]:
    keys = read_keys(band)
    group, number = _sort(keys.astype(np.uint64), np.arange(len(keys), dtype=np.uint64))
    sizes, place = _measure(group)
    yield from _all_pairs(number, sizes, place, MAX_BUCKET)
    is_large = sizes > MAX_BUCKET
    yield from _with_best(number[is_large], place[is_large])
    for step in range(1, N_BANDS):
        group, number = _renumber(group[is_large]), number[is_large]
        if not len(number):
            return
        key = read_keys((band + step) % N_BANDS)[number]
        order = np.lexsort((number, key, group))
        group, number, key = group[order], number[order], key[order]
        group = _renumber(group << np.uint64(32) | key)
        sizes, place = _measure(group)
        yield from _all_pairs(number, sizes, place, MAX_CUT_BUCKET)
        is_large = sizes > MAX_CUT_BUCKET
    yield from _with_best(number[is_large], place[is_large])


def _sort(key: UInt64s, number: UInt64s) -> tuple[UInt64s, UInt64s]:
    packed = np.sort(key << np.uint64(32) | number)
    return packed >> np.uint64(32), packed & np.uint64(0xFFFFFFFF)


def _renumber(group: UInt64s) -> UInt64s:
    """Number runs of equal groups 0, 1, 2, ..."""
    return np.cumsum(np.append(False, group[1:] != group[:-1])[: len(group)]).astype(np.uint64)


def _measure(group: UInt64s) -> tuple[Ints, Ints]:
    """Give for each member the size of its group and its place in it."""
    starts = np.flatnonzero(np.append(True, group[1:] != group[:-1])[: len(group)])
    counts = np.diff(np.append(starts, len(group)))
    return np.repeat(counts, counts), np.arange(len(group)) - np.repeat(starts, counts)


def _all_pairs(number: UInt64s, sizes: Ints, place: Ints, max_size: int) -> Iterator[UInt64s]:
    """Pair each member of groups up to a size with those after it."""
    first = np.flatnonzero((sizes > 1) & (sizes <= max_size))
    for step in range(1, max_size):
        first = first[place[first] + step < sizes[first]]
        if not len(first):
            return
        yield number[first] << np.uint64(32) | number[first + step]


def _with_best(number: UInt64s, place: Ints) -> Iterator[UInt64s]:
    """Pair the best members of each group with all after them."""
    starts = np.arange(len(number)) - place
    for best in range(min(N_BEST, len(number))):
        other = np.flatnonzero(place > best)
        yield number[starts[other] + best] << np.uint64(32) | number[other]
