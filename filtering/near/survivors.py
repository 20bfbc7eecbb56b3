"""Similar prompts in, best first; who stays out: each in turn, and whoever it is a near-duplicate of goes."""

from dataclasses import dataclass

import numpy as np

from filtering.filter import Ints
from filtering.measured import Bools, Floats


@dataclass(frozen=True)
class Edges:
    """Pairs of prompts by number, the best prompt is 0, and their Jaccard similarity."""

    first: Ints
    second: Ints
    jaccard: Floats


def survive(n_prompts: int, edges: Edges, threshold: float) -> Bools:
    """Go through prompts from the best on; each that still stands drops its neighbours at or above the threshold.

    So every dropped prompt has a neighbour that stays, no two that stay are neighbours, and who stays hangs on the
    order of prompts alone.
    """
    better, worse = np.minimum(edges.first, edges.second), np.maximum(edges.first, edges.second)
    is_near = edges.jaccard >= threshold
    better, worse = better[is_near], worse[is_near]
    order = np.lexsort((worse, better))
    better, worse = better[order], worse[order]
    ends = np.flatnonzero(np.append(better[1:] != better[:-1], True)[: len(better)]) + 1
    stays = np.ones(n_prompts, dtype=bool)
    begin = 0
    for end in ends:
        if stays[better[begin]]:
            stays[worse[begin:end]] = False
        begin = end
    return stays


def closest_survivor(stays: Bools, edges: Edges) -> Floats:
    """Give each prompt's highest similarity to another one that stays; NaN where none is known."""
    closest = np.full(len(stays), -np.inf)
    for one, other in ((edges.first, edges.second), (edges.second, edges.first)):
        counts = stays[other]
        np.maximum.at(closest, one[counts], edges.jaccard[counts])
    return np.where(np.isneginf(closest), np.nan, closest)
