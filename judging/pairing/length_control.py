"""Scored candidates in, the price of a character out at which a round's pairs teach no length.

Length shaping of DICE (arXiv 2406.09760): pairs are picked by score - alpha * characters, with the one alpha for all
prompts that brings the chosen and the rejected answers of the pairs to one mean length. Other than in DICE a pair whose
chosen answer has no higher score of its own is dropped, only the pairs that stay count in the mean, and alpha is found
by bisection instead of in steps of 0.001. As in DICE alpha is never negative: answers that run on to the limit rightly
lose, and paying for length would undo that; a policy that gets shorter is for the gate to notice.
"""

import math
from collections.abc import Callable

import numpy as np

from judging.pairing.joined import Floats, Ints, Joined

_FINENESS = 64  # the first alpha tried moves the longest difference in length by this part of a usual score difference
_HALVINGS = 20  # of a bracket; alpha is then known to a millionth of its size


def fit_alpha(scored: Joined, mean_length_gap: Callable[[float], float | None]) -> float:
    """Find the smallest price of a character at which chosen and rejected answers have one mean length.

    Where a rule takes the best, with alpha rising a prompt's chosen answer only gets shorter and the rejected one only
    longer, and their own scores only come closer, so a smaller alpha keeps more pairs. Doubling alphas are tried until
    the mean gap is 0 or below, then the last step is halved again and again. Lengths are summed as whole numbers: no
    order of rows changes alpha.

    Args:
        scored: Scored candidates, those that pairs are picked from.
        mean_length_gap: Gives for an alpha the mean characters of the chosen less those of the rejected answers of the
            pairs that stay; None where none does.

    Returns:
        Alpha >= 0 in units of the score per character, the one of those tried with the smallest gap; 0 where the
        chosen answers are not the longer ones. In a round of many prompts a character or less is left of the gap; it
        stays large where the score says little more than the length, since an alpha that leaves no pair is not taken.
    """
    gaps: dict[float, float] = {}

    def chosen_is_longer(alpha: float) -> bool:
        gap = mean_length_gap(alpha)
        if gap is not None:
            gaps[alpha] = gap
        return gap is not None and gap > 0

    if not chosen_is_longer(0.0):
        return 0.0
    below = above = 0.0
    for above in _doubling_alphas(scored):
        if not chosen_is_longer(above):
            break
        below = above
    for _ in range(_HALVINGS):
        middle = (below + above) / 2
        if chosen_is_longer(middle):
            below = middle
        else:
            above = middle
    return min(gaps, key=lambda alpha: (abs(gaps[alpha]), alpha))


def measure_length(joined: Joined, chosen: Ints, rejected: Ints) -> dict[str, float]:
    """Measure what a round's scores and pairs say about length.

    Args:
        joined: Scored candidates.
        chosen: Entries of the chosen answers of the pairs that were made of them.
        rejected: Entries of the rejected ones.

    Returns:
        `length_gap`: mean characters of the chosen less those of the rejected answers; left out without pairs.
        `score_length_correlation`: Pearson's within a prompt, in [-1, 1], mean over the prompts whose scores and
        lengths both vary; left out where there are none.
    """
    facts: dict[str, float] = {}
    if chosen.size:
        facts["length_gap"] = float(np.mean(joined.length[chosen] - joined.length[rejected]))
    correlations = _correlations(joined)
    if correlations.size:
        facts["score_length_correlation"] = math.fsum(correlations) / correlations.size
    return facts


def _doubling_alphas(scored: Joined) -> list[float]:
    """Give alphas from one that changes next to nothing to one at which one character outweighs any score."""
    starts = np.flatnonzero(np.diff(scored.prompt, prepend=-1))
    scores = np.maximum.reduceat(scored.score, starts) - np.minimum.reduceat(scored.score, starts)
    lengths = np.maximum.reduceat(scored.length, starts) - np.minimum.reduceat(scored.length, starts)
    smallest = float(np.median(scores[scores > 0])) / int(lengths.max()) / _FINENESS
    largest = 2 * float(scores.max())
    return [smallest * 2.0**step for step in range(math.ceil(math.log2(largest / smallest)) + 1)]


def _correlations(joined: Joined) -> Floats:
    scored, starts = _scored(joined)
    if not starts.size:
        return np.empty(0)
    sizes = np.diff(starts, append=scored.score.size)
    score, length = (_centre(values.astype(np.float64), starts, sizes) for values in (scored.score, scored.length))
    products = [
        np.add.reduceat(one * other, starts) for one, other in ((score, length), (score, score), (length, length))
    ]
    varies = (products[1] > 0) & (products[2] > 0)
    both, scores, lengths = (sums[varies] for sums in products)
    return np.clip(both / np.sqrt(scores * lengths), -1.0, 1.0)


def _centre(values: Floats, starts: np.ndarray, sizes: np.ndarray) -> Floats:
    """Shift each group to mean 0 and scale it to at most 1; all 0 where its values are equal."""
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    spread = np.where(high > low, high - low, 1.0)
    scaled = (values - np.repeat(low, sizes)) / np.repeat(spread, sizes)
    centred = scaled - np.repeat(np.add.reduceat(scaled, starts) / sizes, sizes)
    return np.where(np.repeat(high > low, sizes), centred, 0.0)


def _scored(joined: Joined) -> tuple[Joined, np.ndarray]:
    """Give the scored candidates, and where in them each prompt starts."""
    scored = joined.take(np.flatnonzero(~np.isnan(joined.score)))
    return scored, np.flatnonzero(np.diff(scored.prompt, prepend=-1))
