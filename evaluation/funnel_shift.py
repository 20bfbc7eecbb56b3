"""Lengths and margins of all pairs and of those that filtering kept in, how they moved out."""

from dataclasses import dataclass

import numpy as np

Numbers = np.ndarray[tuple[int], np.dtype[np.int64 | np.float64]]
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]

_N_BINS = 40
_MOST_DOUBLINGS = 4.0  # a length ratio beyond 16 counts as 16


@dataclass(frozen=True)
class Histogram:
    """Counts of values before and after filtering, in common bins; what lies outside is counted in the outermost.

    Attributes:
        edges: Ascending, one more than there are bins.
        before: Values of all pairs in each bin.
        after: Values of kept pairs in each bin.
    """

    edges: list[float]
    before: list[int]
    after: list[int]


@dataclass(frozen=True)
class Lengths:
    """How long the two sides of some pairs are.

    Attributes:
        n: Pairs, at least one.
        chosen_mean: Characters.
        rejected_mean: Characters.
        cohens_d: Difference of the means over the pooled standard deviation; None where that is 0.
    """

    n: int
    chosen_mean: float
    rejected_mean: float
    cohens_d: float | None

    @property
    def gap(self) -> float:
        """Mean characters that the chosen answer has more than the rejected one."""
        return self.chosen_mean - self.rejected_mean

    @property
    def relative_gap(self) -> float | None:
        """The gap over the rejected answers' mean; None where that is 0."""
        return self.gap / self.rejected_mean if self.rejected_mean else None


@dataclass(frozen=True)
class LengthShift:
    """Lengths before and after filtering.

    Attributes:
        before: Of all pairs.
        after: Of kept pairs; None where none are.
        doublings: Logarithm to base 2 of the chosen answer's length over the rejected one's, 1 = twice as long.
    """

    before: Lengths
    after: Lengths | None
    doublings: Histogram


@dataclass(frozen=True)
class MarginShift:
    """Margins before and after filtering, where they are known.

    Attributes:
        n_unknown: Pairs without a margin, before filtering.
        mean_before: Of all pairs with a margin.
        mean_after: Of kept pairs with a margin; None where there are none.
        margins: Their distribution.
    """

    n_unknown: int
    mean_before: float
    mean_after: float | None
    margins: Histogram


def length_shift(chosen: Numbers, rejected: Numbers, keep: Bools) -> LengthShift | None:
    """Compare lengths before and after filtering; None without pairs.

    Args:
        chosen: Characters of each pair's chosen answer.
        rejected: Likewise.
        keep: Whether each pair is kept.
    """
    if not len(chosen):
        return None
    ratios = np.log2(np.maximum(chosen, 1) / np.maximum(rejected, 1))
    edges = np.linspace(-_MOST_DOUBLINGS, _MOST_DOUBLINGS, _N_BINS + 1)
    after = _lengths(chosen[keep], rejected[keep]) if keep.any() else None
    return LengthShift(_lengths(chosen, rejected), after, _histogram(ratios, ratios[keep], edges))


def margin_shift(margins: Numbers, keep: Bools) -> MarginShift | None:
    """Compare margins before and after filtering; None where none is known.

    Args:
        margins: Score of each pair's chosen answer less that of its rejected one; NaN = unknown.
        keep: Whether each pair is kept.
    """
    known = np.isfinite(margins)
    before, after = margins[known], margins[known & keep]
    if not before.size:
        return None
    low, high = np.quantile(before, [0.005, 0.995])
    edges = np.linspace(low, high, _N_BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    mean_after = float(after.mean()) if after.size else None
    return MarginShift(int((~known).sum()), float(before.mean()), mean_after, _histogram(before, after, edges))


def _lengths(chosen: Numbers, rejected: Numbers) -> Lengths:
    pooled = float(np.sqrt((chosen.var() + rejected.var()) / 2))
    gap = float(chosen.mean() - rejected.mean())
    return Lengths(len(chosen), float(chosen.mean()), float(rejected.mean()), gap / pooled if pooled else None)


def _histogram(before: Numbers, after: Numbers, edges: Numbers) -> Histogram:
    def count(values: Numbers) -> list[int]:
        return np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].tolist()

    return Histogram(edges.tolist(), count(before), count(after))
