"""Summed log-probs of samples under two policies in, the KL divergence between them out.

The samples must be drawn from the policy at temperature 1 with top_p 1 and both log-probs be the raw ones: only then is
the mean log ratio an unbiased estimate of KL(policy || reference). Samples of a sharpened policy give a number, but not
this one. k3 is the estimator of Schulman (2020, http://joschu.net/blog/kl-approx.html), per sequence.
"""

from dataclasses import dataclass

import numpy as np

# For samples of the policy, Markov's inequality on E[reference/policy] <= 1 bounds P(log ratio <= -20) by 2e-9: such a
# row was not drawn from this policy, and its exp(20) and more would drown every other row of k3.
_LEAST_LOG_RATIO = -20.0


@dataclass(frozen=True)
class Kl:
    """KL(policy || reference) in nats."""

    per_sequence: float
    """Mean log ratio of a whole answer; unbiased, may come out slightly below 0."""
    per_token: float
    """Sum of all log ratios over the number of all tokens."""
    k3: float
    """Mean of r - 1 - log r with r = reference/policy: also unbiased, never below 0; NaN when every row is left out."""
    n_left_out: int
    """Rows that k3 leaves out: the reference finds them e^20 times likelier than the policy that should have drawn
    them, so they come from another policy or sampling. The other two figures keep them."""


def sequence_kl(logprob_policy: np.ndarray, logprob_reference: np.ndarray, n_tokens: np.ndarray) -> Kl:
    """Estimate the divergence from samples that the policy drew at temperature 1 and top_p 1.

    Args:
        logprob_policy: log pi(y|x) in nats, summed over the answer's tokens, shape `(answers,)`.
        logprob_reference: The same answers under the reference.
        n_tokens: Tokens in each answer, the stop token included.

    Raises:
        ValueError: When there are no rows, the shapes differ, or a log-prob is not finite.
    """
    if not logprob_policy.shape == logprob_reference.shape == n_tokens.shape:
        raise ValueError(
            f"Shapes differ: logprob_policy {logprob_policy.shape}, logprob_reference {logprob_reference.shape}, "
            f"n_tokens {n_tokens.shape}"
        )
    log_ratio = np.asarray(logprob_policy, np.float64) - np.asarray(logprob_reference, np.float64)
    if log_ratio.size == 0 or not np.isfinite(log_ratio).all():
        raise ValueError(f"KL wants finite log-probs, got {np.isfinite(log_ratio).sum()} in {log_ratio.size} rows")
    plausible = log_ratio[log_ratio >= _LEAST_LOG_RATIO]
    k3 = np.expm1(-plausible) + plausible
    return Kl(
        per_sequence=float(log_ratio.mean()),
        per_token=float(log_ratio.sum() / n_tokens.sum()),
        k3=float(k3.mean()) if k3.size else float("nan"),
        n_left_out=log_ratio.size - plausible.size,
    )
