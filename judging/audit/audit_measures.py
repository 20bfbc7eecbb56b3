"""Scores and what is known about the answers in, measures of a judge's faults out: length, position, noise.

Every measure is a function of sums over prompts, which `Measure` keeps apart, so that whole prompts can be resampled:
answers to one prompt resemble each other. Answers without a score take no part; the caller counts them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Measure:
    """A figure of a judge.

    Attributes:
        sums: What each prompt adds, shape `(prompts, parts)`; prompts that add nothing are left out.
        figure: The figure of sums over prompts, `(..., parts)` to `(...)`; NaN where they don't determine it.
    """

    sums: np.ndarray
    figure: Callable[[np.ndarray], np.ndarray]

    @property
    def value(self) -> float:
        """The figure over all prompts; NaN where they don't determine it."""
        return float(self.figure(self.sums.sum(axis=0)))

    @property
    def n(self) -> int:
        """Prompts that add something."""
        return len(self.sums)


@dataclass(frozen=True)
class PairsWithin:
    """All pairs of answers to the same prompt.

    Attributes:
        first: Row of one answer, shape `(pairs,)`.
        second: Row of the other.
    """

    first: np.ndarray
    second: np.ndarray


def pairs_within(prompt: np.ndarray) -> PairsWithin:
    """Pair each answer with each other answer to the same prompt, once.

    Args:
        prompt: Number of each answer's prompt, shape `(answers,)`.
    """
    order = np.argsort(prompt, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(prompt[order])) + 1)
    places = [(rows[i], rows[j]) for rows in groups for i, j in zip(*np.triu_indices(len(rows), 1), strict=True)]
    both = np.array(places, dtype=int).reshape(-1, 2)
    return PairsWithin(both[:, 0], both[:, 1])


def mean_by_prompt(prompt: np.ndarray, values: np.ndarray) -> Measure:
    """Mean over prompts of each prompt's mean; NaN values take no part."""
    known = ~np.isnan(values)
    sums = _sum_by_prompt(prompt[known], np.stack([values[known], np.ones(known.sum())], axis=1))
    return Measure(np.stack([sums[:, 0] / sums[:, 1], np.ones(len(sums))], axis=1), _ratio)


def within_correlation(prompt: np.ndarray, x: np.ndarray, y: np.ndarray) -> Measure:
    """Pearson correlation of two values within prompts: each is taken as its distance from its prompt's mean.

    It is also the standardised slope of y on x with a constant for each prompt (the within estimator of panel
    data). With scores and lengths it is the verbosity of a judge, with two scorings its test-retest reliability.

    Args:
        prompt: Number of each answer's prompt, shape `(answers,)`.
        x: First value; NaN takes no part.
        y: Second value likewise.
    """
    known = ~(np.isnan(x) | np.isnan(y))
    numbers, counts = np.unique(prompt[known], return_counts=True)
    known &= np.isin(prompt, numbers[counts > 1])  # one answer has no distance from its mean, and adds nothing
    prompt, x, y = prompt[known], _centred(prompt[known], x[known]), _centred(prompt[known], y[known])
    return Measure(_sum_by_prompt(prompt, np.stack([x * y, x * x, y * y], axis=1)), _correlation)


def longer_wins(prompt: np.ndarray, score: np.ndarray, length: np.ndarray) -> Measure:
    """P(the longer of two answers to a prompt scores higher), ties half; answers of one length form no pair.

    Args:
        prompt: Number of each answer's prompt, shape `(answers,)`.
        score: Its score; NaN takes no part.
        length: Its length.
    """
    pairs = pairs_within(prompt)
    won = wins(score[pairs.first], score[pairs.second])
    sign = np.sign(length[pairs.first] - length[pairs.second])
    return mean_by_prompt(prompt[pairs.first], np.where(sign == 0, np.nan, np.where(sign > 0, won, 1 - won)))


def order_kept(prompt: np.ndarray, once: np.ndarray, again: np.ndarray) -> Measure:
    """Share of pairs of answers that a second scoring puts in the same order (or ties again) as the first.

    The repetition stability of arXiv 2406.07791, for any judge.
    """
    pairs = pairs_within(prompt)
    before, after = (wins(score[pairs.first], score[pairs.second]) for score in (once, again))
    same = np.where(np.isnan(before) | np.isnan(after), np.nan, before == after)
    return mean_by_prompt(prompt[pairs.first], same)


def wins(score: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Give 1 where a score is above the other, 0.5 where they tie, 0 below, NaN where one is missing."""
    return np.where(np.isnan(score) | np.isnan(other), np.nan, 0.5 + 0.5 * np.sign(score - other))


def spread_within(prompt: np.ndarray, score: np.ndarray) -> float:
    """Standard deviation within prompts, pooled over prompts: sqrt(sum of squares / (answers - prompts)).

    Returns:
        NaN where no prompt has two scored answers; 0 where no score differs within a prompt.
    """
    known = ~np.isnan(score)
    freedom = known.sum() - len(np.unique(prompt[known]))
    if freedom < 1:
        return float("nan")
    return float(np.sqrt(np.sum(_centred(prompt[known], score[known]) ** 2) / freedom))


def standardise_within(prompt: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Give each value as its distance from its prompt's mean, in standard deviations within prompts; NaN stays NaN."""
    known = ~np.isnan(values)
    spread = spread_within(prompt, values)
    distances = np.full(len(values), np.nan)
    distances[known] = _centred(prompt[known], values[known])
    return distances / spread if spread > 0 else np.where(known, 0.0, np.nan)


@dataclass(frozen=True)
class Position:
    """What a judge of pairs makes of the order that it sees them in (arXiv 2406.07791).

    Attributes:
        consistent: Share of duels with the same outcome in both orders.
        first_preferred: Share of questions that the answer shown first wins, ties half.
    """

    consistent: Measure
    first_preferred: Measure


def measure_position(prompt: np.ndarray, first_wins: np.ndarray, first_wins_swapped: np.ndarray) -> Position:
    """Compare what was said in both orders.

    Args:
        prompt: Number of each duel's prompt, shape `(duels,)`.
        first_wins: 1 where answer one, shown first, won, 0 where it lost, 0.5 for a tie, NaN = no verdict.
        first_wins_swapped: The same of answer two, which is shown first when they are swapped.
    """
    known = ~(np.isnan(first_wins) | np.isnan(first_wins_swapped))
    one, two = np.sign(first_wins - 0.5), np.sign(0.5 - first_wins_swapped)  # who won, seen from answer one
    return Position(
        consistent=mean_by_prompt(prompt, np.where(known, one == two, np.nan)),
        first_preferred=mean_by_prompt(
            np.concatenate([prompt, prompt]),
            0.5 + 0.5 * np.sign(np.concatenate([first_wins, first_wins_swapped]) - 0.5),
        ),
    )


def own_preferred_wrongly(
    prompt: np.ndarray, score: np.ndarray, gold: np.ndarray, own: np.ndarray, pairs: PairsWithin
) -> Measure:
    """False-positive rate for the judge's own family minus that for others (arXiv 2404.13076).

    Among pairs of an answer of the judge's family and one of another: how often the judge prefers its own where gold
    prefers the other, minus how often it prefers the other where gold prefers its own; ties of the judge count half.

    Args:
        prompt: Number of each answer's prompt, shape `(answers,)`.
        score: Its score; NaN takes no part.
        gold: +1 where gold prefers the first of a pair, -1 the second, 0 neither, shape `(pairs,)`.
        own: Whether the judge's own family wrote the answer, shape `(answers,)`.
        pairs: The pairs that gold speaks of.
    """
    first, second = pairs.first, pairs.second
    won = wins(score[first], score[second])
    mixed = (own[first] != own[second]) & (gold != 0) & ~np.isnan(won)
    own_wins = np.where(own[first], won, 1 - won)
    own_better = np.where(own[first], gold > 0, gold < 0)
    worse, better = (mixed & ~own_better).astype(float), (mixed & own_better).astype(float)
    parts = np.stack([worse * np.nan_to_num(own_wins), worse, better * np.nan_to_num(1 - own_wins), better], axis=1)
    return Measure(
        _sum_by_prompt(prompt[first][mixed], parts[mixed]),
        lambda sums: _ratio(sums[..., :2]) - _ratio(sums[..., 2:]),
    )


def own_gap(prompt: np.ndarray, score: np.ndarray, own: np.ndarray) -> Measure:
    """Mean score of the judge's own family minus that of others, within prompts, in standard deviations within prompts.

    Without gold labels this can't tell self-preference from better answers.
    """
    values = score / spread_within(prompt, score)
    known = ~np.isnan(values)
    numbers = np.unique(prompt[known])
    gaps = np.full(len(numbers), np.nan)
    for place, number in enumerate(numbers):
        here = known & (prompt == number)
        if (here & own).any() and (here & ~own).any():
            gaps[place] = values[here & own].mean() - values[here & ~own].mean()
    return mean_by_prompt(numbers, gaps)


def _centred(prompt: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Take each prompt's mean off its values; equal values give exact zeros, which keeps noise out of correlations."""
    _, start, place, counts = np.unique(prompt, return_index=True, return_inverse=True, return_counts=True)
    moved = values - values[start][place]
    return moved - (np.bincount(place, weights=moved, minlength=len(counts)) / counts)[place]


def _sum_by_prompt(prompt: np.ndarray, parts: np.ndarray) -> np.ndarray:
    numbers, place = np.unique(prompt, return_inverse=True)
    sums = np.zeros((len(numbers), parts.shape[1]))
    np.add.at(sums, place, parts)
    return sums


def _ratio(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[..., 0] / sums[..., 1]


def _correlation(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[..., 0] / np.sqrt(sums[..., 1] * sums[..., 2])
