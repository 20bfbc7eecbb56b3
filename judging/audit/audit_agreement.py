"""A judge's scores and gold labels in, agreement, Cohen's kappa and calibration out.

A gold label says which of two answers to a prompt is better, or that neither is. Which one is called the first means
nothing, so that every pair is counted both ways round, half each: else kappa would depend on the order of rows.
"""

from dataclasses import dataclass

import numpy as np

from judging.audit.audit_measures import Measure, PairsWithin, pairs_within, wins

_WINS, _TIE, _LOSES = range(3)
_FOLDS = 5
_NEWTON_STEPS = 50
_MOST_BINS = 10
_PAIRS_A_BIN = 50  # fewer and the noise of a bin's share, 0.07, passes for bad calibration


@dataclass(frozen=True)
class GoldPairs:
    """Labelled pairs of answers to the same prompt.

    Attributes:
        pairs: Rows of the two answers.
        label: 1 where the first is better, 0 where the second is, 0.5 where neither is, shape `(pairs,)`.
    """

    pairs: PairsWithin
    label: np.ndarray


def pairs_of_gold_scores(prompt: np.ndarray, gold: np.ndarray) -> GoldPairs:
    """Label all pairs within prompts by the answers' gold scores; pairs with an answer without one are left out.

    Args:
        prompt: Number of each answer's prompt, shape `(answers,)`.
        gold: Its gold score; NaN = it has none.
    """
    pairs = pairs_within(prompt)
    label = wins(gold[pairs.first], gold[pairs.second])
    known = ~np.isnan(label)
    return GoldPairs(PairsWithin(pairs.first[known], pairs.second[known]), label[known])


@dataclass(frozen=True)
class Agreement:
    """How far judge and gold agree.

    Attributes:
        agreement: Observed agreement po: P(same label).
        kappa: Cohen's (po - pe) / (1 - pe), with pe the agreement by chance from both sides' shares.
        table: Pairs by judge (rows) and gold (columns): first, tie, second; without the tie where ties are dropped.
    """

    agreement: Measure
    kappa: Measure
    table: np.ndarray


def measure_agreement(prompt: np.ndarray, judged: np.ndarray, gold: np.ndarray, *, keep_ties: bool) -> Agreement:
    """Compare the judge's preferences with gold labels.

    Args:
        prompt: Number of each pair's prompt, shape `(pairs,)`.
        judged: 1 where the judge prefers the first, 0 the second, 0.5 a tie; NaN takes no part.
        gold: Gold labels, the same.
        keep_ties: A tie is a label like any other; otherwise pairs that either side ties are left out.
    """
    known = ~np.isnan(judged)
    if not keep_ties:
        known &= (judged != 0.5) & (gold != 0.5)
    labels = np.array([_LOSES, _TIE, _WINS])
    rows, columns = (labels[np.rint(2 * side[known]).astype(int)] for side in (judged, gold))
    numbers, place = np.unique(prompt[known], return_inverse=True)
    tables = np.zeros((len(numbers), 3, 3))
    np.add.at(tables, (place, rows, columns), 0.5)
    np.add.at(tables, (place, 2 - rows, 2 - columns), 0.5)  # the other way round
    sums = tables.reshape(-1, 9)
    table = tables.sum(axis=0)
    kept = table if keep_ties else table[np.ix_([_WINS, _LOSES], [_WINS, _LOSES])]
    return Agreement(
        Measure(sums, lambda s: observed_agreement(_square(s))),
        Measure(sums, lambda s: cohen_kappa(_square(s))),
        kept,
    )


def observed_agreement(table: np.ndarray) -> np.ndarray:
    """Share of the pairs on the diagonal: po; tables of shape `(..., labels, labels)`."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.trace(table, axis1=-2, axis2=-1) / table.sum(axis=(-2, -1))


def cohen_kappa(table: np.ndarray) -> np.ndarray:
    """Cohen's kappa (1960) of tables of shape `(..., labels, labels)`: (po - pe) / (1 - pe)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        n = table.sum(axis=(-2, -1))
        by_chance = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1) / n**2
        return (observed_agreement(table) - by_chance) / (1 - by_chance)


@dataclass(frozen=True)
class Calibration:
    """How well P(a beats b) = sigmoid(slope * (score of a - score of b)) says how often gold agrees.

    Attributes:
        slope: Fitted on all pairs; per unit of the score.
        error: Expected calibration error, eq. 5 of arXiv 1706.04599, of predictions for prompts the fit has not seen.
        confidence: Mean predicted probability of the favourite in each bin, in [0.5, 1], shape `(bins,)`.
        right: Share of each bin's pairs in which gold prefers the favourite, gold's ties half.
        counts: Pairs in each bin.
    """

    slope: float
    error: Measure
    confidence: np.ndarray
    right: np.ndarray
    counts: np.ndarray


def measure_calibration(prompt: np.ndarray, gap: np.ndarray, gold: np.ndarray) -> Calibration | None:
    """Fit and check the probability that one answer beats another.

    The prompts are dealt into five parts, and each part is predicted by a fit on the others. Bins hold equal numbers
    of pairs.

    Args:
        prompt: Number of each pair's prompt, shape `(pairs,)`.
        gap: Score of the first answer minus that of the second; NaN takes no part.
        gold: 1 where gold prefers the first, 0 the second, 0.5 neither.

    Returns:
        None where there are fewer than five prompts, or where no gap differs from 0.
    """
    known = ~np.isnan(gap)
    prompt, gap, gold = prompt[known], gap[known], gold[known]
    numbers, place = np.unique(prompt, return_inverse=True)
    folds = [place % _FOLDS == fold for fold in range(_FOLDS)]
    if len(numbers) < _FOLDS or not all(gap[~fold].any() for fold in folds):
        return None
    predicted = np.empty(len(gap))
    for fold in folds:
        predicted[fold] = _sigmoid(fit_slope(gap[~fold], gold[~fold]) * gap[fold])
    confidence = np.maximum(predicted, 1 - predicted)
    right = np.where(predicted > 0.5, gold, np.where(predicted < 0.5, 1 - gold, 0.5))
    n_bins = int(np.clip(len(gap) // _PAIRS_A_BIN, 1, _MOST_BINS))
    bins = np.argsort(np.argsort(confidence, kind="stable"), kind="stable") * n_bins // len(gap)
    sums = np.zeros((len(numbers), 3, n_bins))
    for part, values in enumerate((np.ones(len(gap)), confidence, right)):
        np.add.at(sums[:, part], (place, bins), values)
    counts, confidences, rights = sums.sum(axis=0)
    measure = Measure(sums.reshape(len(numbers), -1), _calibration_error)
    return Calibration(fit_slope(gap, gold), measure, confidences / counts, rights / counts, counts.astype(int))


def fit_slope(gap: np.ndarray, gold: np.ndarray) -> float:
    """Fit a in P(gold prefers the first) = sigmoid(a * gap) by maximum likelihood.

    A pair that is like nothing seen, won half, is added at the widest gap: without it a judge that is always right has
    no finite slope.

    Args:
        gap: Differences of scores, shape `(pairs,)`; not all 0.
        gold: 1, 0 or 0.5.
    """
    scale = np.abs(gap).max()
    x, y = np.append(gap / scale, 1.0), np.append(gold, 0.5)
    slope = 0.0
    for _ in range(_NEWTON_STEPS):
        p = _sigmoid(slope * x)
        curvature = np.sum(p * (1 - p) * x * x)
        step = np.sum((y - p) * x) / curvature
        slope += float(np.clip(step, -2, 2))  # where the likelihood is flat a whole step leaps too far
        if abs(step) < 1e-9:
            break
    return slope / float(scale)


def _calibration_error(sums: np.ndarray) -> np.ndarray:
    counts, confidence, right = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.abs(right - confidence).sum(axis=-1) / counts.sum(axis=-1)  # sum of n_b / n * |acc_b - conf_b|


def _square(sums: np.ndarray) -> np.ndarray:
    return sums.reshape(*sums.shape[:-1], 3, 3)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))  # exp(-x) would overflow
