"""Won duels in, strengths out: Bradley-Terry by minorise-maximise (MM; Hunter, Annals of Statistics 32, 2004).

Item i beats item j with probability p_i / (p_i + p_j). A tie is half a win for each, a soft verdict a fraction of one.
A small prior, wins both ways for every pair of items, keeps items finite that won or lost all their duels, and ties
together groups that never met. Left out: ties and the advantage of the first place as parameters of their own (both
orders are asked instead), covariates.

Arrays may have leading dimensions, `(..., k, k)`: many prompts are then fitted at once.
"""

import numpy as np
from numpy.typing import NDArray

PRIOR = 0.1
_TOLERANCE = 1e-10  # largest change of a log strength in one step
_MAX_STEPS = 100_000

Floats = NDArray[np.float64]


def fit_strengths(wins: Floats, prior: float = PRIOR) -> Floats:
    """Give each item's log strength, mean 0 (so the strengths' geometric mean is 1).

    Args:
        wins: Shape `(..., k, k)`: wins of the row's item over the column's; fractions are allowed.
        prior: Wins added both ways for each pair of items.

    Raises:
        ValueError: The shape is wrong, a number is negative or not finite, or without a prior some item has no finite
            strength: it never won, or never lost, against the others.
    """
    _check(wins, prior)
    wins = _with_prior(wins, prior)
    games = wins + np.swapaxes(wins, -1, -2)
    won = wins.sum(axis=-1)
    logs = np.zeros(won.shape)
    for _ in range(_MAX_STEPS):
        strengths = np.exp(logs)
        shares = games / (strengths[..., :, None] + strengths[..., None, :])
        updated = np.log(won / shares.sum(axis=-1)) if won.shape[-1] > 1 else logs  # p_i <- W_i / sum_j n_ij/(p_i+p_j)
        updated -= updated.mean(axis=-1, keepdims=True)
        if np.abs(updated - logs).max(initial=0.0) < _TOLERANCE:
            return updated
        logs = updated
    raise ArithmeticError(f"Bradley-Terry has not converged after {_MAX_STEPS} steps")


def find_standard_errors(wins: Floats, log_strengths: Floats, prior: float = PRIOR) -> Floats:
    """Give each log strength's standard error, from the Fisher information at the fit, under mean 0.

    Args:
        wins: What was fitted.
        log_strengths: What `fit_strengths` gave.
        prior: What it was given.
    """
    wins = _with_prior(wins, prior)
    games = wins + np.swapaxes(wins, -1, -2)
    chances = 1 / (1 + np.exp(log_strengths[..., None, :] - log_strengths[..., :, None]))
    weights = games * chances * (1 - chances)
    information = np.eye(wins.shape[-1]) * weights.sum(axis=-1)[..., None, :] - weights
    covariance = np.linalg.pinv(information, hermitian=True)  # the constant direction, which mean 0 fixes, has none
    return np.sqrt(np.clip(np.diagonal(covariance, axis1=-2, axis2=-1), 0, None))


def _with_prior(wins: Floats, prior: float) -> Floats:
    off_diagonal = 1 - np.eye(wins.shape[-1])
    return (wins + prior) * off_diagonal


def _check(wins: Floats, prior: float) -> None:
    if wins.ndim < 2 or wins.shape[-1] != wins.shape[-2] or wins.shape[-1] == 0:
        raise ValueError(f"wins must have shape (..., k, k) with k >= 1, got {wins.shape}")
    if not np.isfinite(wins).all() or (wins < 0).any():
        raise ValueError("wins must be finite and not negative")
    if not prior >= 0:
        raise ValueError(f"prior must be at least 0, got {prior}")
    if prior == 0 and not _is_connected(wins):
        raise ValueError("without a prior each item must have beaten, directly or by others, each other: set prior > 0")


def _is_connected(wins: Floats) -> bool:
    """Say whether from each item a chain of wins leads to each other one; then, and only then, a fit is finite."""
    k = wins.shape[-1]
    reached = (wins > 0) | np.eye(k, dtype=bool)
    for _ in range(max(1, (k - 1).bit_length())):
        reached = reached @ reached
    return bool(reached.all())
