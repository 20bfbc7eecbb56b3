"""All pairs of prompts with a Jaccard similarity from a limit on, found exactly: what benchmarks hold results against.

A prefix filter (Bayardo et al. 2007): with shingles in one order for all, the rarest first, two sets of n and m of them
with similarity s or more share one of the first n - ceil(s n) + 1 and m - ceil(s m) + 1. Shingles are numbered by
their text; nothing of `filtering.near` is used but how prompts are split into words.
"""

from collections import Counter
from itertools import combinations

import pyarrow as pa

from filtering.near.shingles import plain_words


def shingle_sets(prompts: pa.ChunkedArray) -> list[list[int]]:
    """Give each prompt's runs of three words, once each, as numbers in the order of their frequency."""
    words = plain_words(prompts).to_pylist()
    runs = [set(zip(one, one[1:], one[2:], strict=False)) for one in words]
    counts = Counter(run for one in runs for run in one)
    numbers = {run: number for number, run in enumerate(sorted(counts, key=lambda run: (counts[run], run)))}
    return [sorted(map(numbers.__getitem__, one)) for one in runs]


def similar_pairs(sets: list[list[int]], limit: float) -> dict[tuple[int, int], float]:
    """Give the similarity of each pair of sets that is at least `limit`, by their places, first < second."""
    holders = dict[int, list[int]]()
    for place, one in enumerate(sets):
        for number in one[: len(one) - _ceil(limit * len(one)) + 1]:
            holders.setdefault(number, []).append(place)
    met = {pair for places in holders.values() if len(places) > 1 for pair in combinations(places, 2)}
    members = {place: set(sets[place]) for pair in met for place in pair}
    found = dict[tuple[int, int], float]()
    for first, second in met:
        shared = len(members[first] & members[second])
        jaccard = shared / (len(members[first]) + len(members[second]) - shared)
        if jaccard >= limit:
            found[first, second] = jaccard
    return found


def _ceil(number: float) -> int:
    """Round up, but not for what floating point adds to a whole number."""
    return -int(-(number - 1e-9) // 1)
