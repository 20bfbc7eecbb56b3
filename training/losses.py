"""Preference losses as pure functions of log-probabilities: what the trainer's own loss is checked against.

Symbols: log pi = sum of an answer's token log-probs (nats) under the policy, log ref = the same under the reference,
w = chosen, l = rejected. Inputs are NumPy arrays or torch tensors of shape `(pairs,)`; outputs are of the same kind.
"""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")


def dpo_loss(
    policy_chosen: Array, policy_rejected: Array, ref_chosen: Array, ref_rejected: Array, beta: float
) -> Array:
    """Direct Preference Optimization (arXiv 2305.18290), one loss a pair.

    Args:
        policy_chosen: log pi(w), shape `(pairs,)`, nats.
        policy_rejected: log pi(l).
        ref_chosen: log ref(w).
        ref_rejected: log ref(l).
        beta: Strength of the tie to the reference.

    Returns:
        Losses of shape `(pairs,)`; ln 2 where policy and reference agree.
    """
    h = (policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)
    return _softplus(-beta * h)  # eq. 7: -log sigmoid(beta h)


def simpo_loss(
    policy_chosen: Array, policy_rejected: Array, n_chosen: Array, n_rejected: Array, beta: float, gamma: float
) -> Array:
    """SimPO (arXiv 2405.14734), one loss a pair.

    Args:
        policy_chosen: log pi(w), shape `(pairs,)`, nats; a sum, the mean is taken here.
        policy_rejected: log pi(l).
        n_chosen: Tokens of w, the stop token included.
        n_rejected: Tokens of l.
        beta: Scale of the mean log-prob difference.
        gamma: Target margin, absolute: gamma_beta_ratio * beta.

    Returns:
        Losses of shape `(pairs,)`.
    """
    difference = policy_chosen / n_chosen - policy_rejected / n_rejected
    return _softplus(gamma - beta * difference)  # eq. 6: -log sigmoid(beta (mean_w - mean_l) - gamma)


def _softplus(x: Array) -> Array:
    """log(1 + e^x) = -log sigmoid(-x), without overflow."""
    if isinstance(x, np.ndarray):
        return np.logaddexp(0.0, x)
    from torch.nn import functional

    return functional.softplus(x)
