"""Log-probs of a verdict's token in, the mean of the scale under them out (G-Eval, arXiv 2303.16634).

The mean is finer than the likeliest rating and hardly ever ties. Of the paper the sampling in place of log-probs is
`n_samples` of the written verdict; its generated chain of thought is left out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_AROUND = " \t\r\n\u2581\u0120\u010a"  # the last three: how raw tokens write blank and line end


@dataclass(frozen=True, slots=True)
class Expected:
    """What the distribution over the labels of a verdict comes to.

    Attributes:
        score: Mean of the labels' values.
        spread: Standard deviation around it.
        mass: Probability in [0, 1] of all labels together, before it was made 1.
    """

    score: float
    spread: float
    mass: float


def sum_labels(logprobs: Mapping[str, float], labels: Sequence[str]) -> dict[str, float]:
    """Add up the tokens that are one label, such as "4" and " 4".

    Args:
        logprobs: Token texts with nats; a constrained server gives -9999 to what it does not allow.
        labels: What was offered.

    Returns:
        The log-prob of each label that a token with probability above 0 stands for.
    """
    found: dict[str, list[float]] = {}
    for token, logprob in logprobs.items():
        label = token.strip(_AROUND)
        if label in labels and math.isfinite(logprob) and logprob > -1000:
            found.setdefault(label, []).append(logprob)
    return {label: _log_sum(values) for label, values in found.items()}


def expect(logprobs: Mapping[str, float], values: Mapping[str, float]) -> Expected | None:
    """Compute the expected score, eq. 1: sum over s of p(s) * s, with p made 1 over the labels.

    Args:
        logprobs: Alternatives at the verdict's position, token texts with nats.
        values: Each label's value.

    Returns:
        None where no label is among the alternatives.
    """
    found = sum_labels(logprobs, list(values))
    if not found:
        return None
    total = _log_sum(list(found.values()))
    shares = {label: math.exp(logprob - total) for label, logprob in found.items()}
    score = math.fsum(share * values[label] for label, share in shares.items())
    variance = math.fsum(share * (values[label] - score) ** 2 for label, share in shares.items())
    return Expected(score, math.sqrt(variance), min(math.exp(min(total, 0.0)), 1.0))


def _log_sum(logprobs: Sequence[float]) -> float:
    top = max(logprobs)
    return top + math.log(math.fsum(math.exp(logprob - top) for logprob in logprobs))
