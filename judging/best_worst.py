"""The rule of Iterative DPO: a prompt's highest score against its lowest.

Ties follow WPO (arXiv 2406.11827, second version of its data): among the highest scores the shortest answer is chosen,
among the lowest the one closest in length to the chosen answer is rejected, so that a coarse judge does not teach
length. WPO's weights and its mix of on- and off-policy answers are left out.
"""

from dataclasses import dataclass

import numpy as np

from judging.joined import Floats, Ints, Joined
from judging.pairing_drops import FEWEST_SCORED


@dataclass(frozen=True)
class Picked:
    """The pair that a rule picks for each prompt with enough scored candidates, in the prompts' order.

    Attributes:
        prompt: Row in the prompts table.
        chosen: Entry in the joined candidates.
        rejected: Likewise; the same entry as `chosen` where all scores and lengths are tied.
    """

    prompt: Ints
    chosen: Ints
    rejected: Ints


def pick_best_worst(joined: Joined) -> Picked:
    """Pick the candidates with the highest and the lowest score of each prompt."""
    is_scored = ~np.isnan(joined.score)
    n_scored = np.bincount(joined.prompt, weights=is_scored, minlength=1)
    rows = np.flatnonzero(is_scored & (n_scored[joined.prompt] >= FEWEST_SCORED))
    if not rows.size:
        none = np.empty(0, dtype=np.int64)
        return Picked(none, none, none)
    prompt, score, length = joined.prompt[rows], joined.score[rows], joined.length[rows].astype(np.float64)
    index = np.arange(rows.size, dtype=np.float64)
    starts = np.flatnonzero(np.diff(prompt, prepend=-1))
    chosen = _pick(starts, [-score, length, index])
    sizes = np.diff(starts, append=rows.size)
    gap = np.abs(length - np.repeat(length[chosen], sizes))
    rejected = _pick(starts, [score, gap, -index])
    return Picked(prompt[starts], rows[chosen], rows[rejected])


def _pick(starts: Ints, keys: list[Floats]) -> Ints:
    """Give the row of each group whose keys are the smallest, the first key first; the last one must have no ties."""
    sizes = np.diff(starts, append=keys[0].size)
    alive = np.ones(keys[0].size, dtype=bool)
    for key in keys:
        smallest = np.minimum.reduceat(np.where(alive, key, np.inf), starts)
        alive &= key == np.repeat(smallest, sizes)
    return np.flatnonzero(alive)
