"""Prompt-clustered bootstrap: one value a prompt in, a mean and its 95 % interval out.

Answers to the same prompt resemble each other, so whole prompts are resampled, never single answers or duels: those
would make the interval too narrow. The interval is the plain percentile one (Efron, 1979); the bias-corrected one is
left out, for the means of a few hundred prompts differ by less than the interval's own noise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_CHUNK_CELLS = 1 << 21  # resampled values held at once: 16 MB of indices
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Interval:
    """A mean over prompts with its 95 % interval."""

    mean: float
    low: float
    high: float
    n_prompts: int
    """Prompts behind the mean."""
    n_unscored: int = 0
    """Prompts left out because they have no value."""

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_mean(per_prompt: np.ndarray, n: int, seed: int) -> Interval:
    """Estimate the mean over prompts and its 95 % interval.

    Args:
        per_prompt: One value a prompt, shape `(prompts,)`; NaN where the prompt has none. For two policies pass the
            paired differences.
        n: Resamples of prompts.
        seed: The same seed and number of prompts give the same resamples, so that swapped policies mirror exactly.

    Raises:
        ValueError: When no prompt has a value.
    """
    scored = per_prompt[~np.isnan(per_prompt)]
    if scored.size == 0:
        raise ValueError(f"None of {per_prompt.size} prompts has a value, so there is no mean to estimate")
    low, high = np.percentile(_resampled_means(scored, n, seed), _PERCENTILES)
    return Interval(
        mean=float(scored.mean()),
        low=float(low),
        high=float(high),
        n_prompts=scored.size,
        n_unscored=per_prompt.size - scored.size,
    )


def bootstrap_sums(sums: np.ndarray, figure: Callable[[np.ndarray], np.ndarray], n: int, seed: int) -> Interval | None:
    """Estimate a figure of sums over prompts, such as a correlation or a kappa, and its 95 % interval.

    The interval is moved by what resampling alone adds to the figure: a mean of absolute values, such as a calibration
    error, grows with noise, and its plain percentiles can lie above the figure itself.

    Args:
        sums: What each prompt adds, shape `(prompts, parts)`.
        figure: The figure of sums, `(..., parts)` to `(...)`; NaN where they don't determine it, which leaves a
            resample out.
        n: Resamples of prompts.
        seed: The same seed and number of prompts give the same resamples.

    Returns:
        None where all prompts together don't determine the figure.
    """
    if not len(sums) or np.isnan(mean := float(figure(sums.sum(axis=0)))):
        return None
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK_CELLS // len(sums))
    chances = np.full(len(sums), 1 / len(sums))
    chunks = [rng.multinomial(len(sums), chances, size=min(rows, n - start)) @ sums for start in range(0, n, rows)]
    resampled = figure(np.concatenate(chunks))
    low, high = np.nanpercentile(resampled, _PERCENTILES) - (np.nanmean(resampled) - mean)
    return Interval(mean, float(low), float(high), n_prompts=len(sums))


def _resampled_means(values: np.ndarray, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK_CELLS // values.size)
    means = np.empty(n)
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        drawn = rng.integers(values.size, size=(stop - start, values.size))
        means[start:stop] = values[drawn].mean(axis=1)
    return means
