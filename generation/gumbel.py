"""Sampling as greedy decoding over noisy scores, so that a row's answer depends on its seed and not on its batch.

The Gumbel-max trick (A* Sampling, arXiv 1411.0030): argmax of z / T + g with independent Gumbel noise g is a draw from
softmax(z / T). Each row has a generator of its own; drawing with one generator for the batch would tie a row's noise
to its neighbours.
"""

import torch

from generation.config import SamplingConfig

_TINY = torch.finfo(torch.float32).tiny


class GumbelMax:
    """A logits processor for greedy generation that samples, and records what the sampled tokens were worth."""

    def __init__(self, seeds: list[int], sampling: SamplingConfig, device: torch.device) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._sampling = sampling
        self._logprobs: list[torch.Tensor] = []

    def __call__(self, _prefix: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Turn raw scores of shape (rows, vocabulary) into those whose argmax is the sampled token."""
        noisy = scores
        if self._sampling.temperature > 0:
            tempered = scores / self._sampling.temperature
            noisy = _keep_nucleus(tempered, self._sampling.top_p) + self._noise(scores)
        chosen = noisy.argmax(dim=-1, keepdim=True)
        self._logprobs.append(scores.log_softmax(dim=-1).gather(-1, chosen).squeeze(-1))
        return noisy

    def logprob_sums(self, lengths: list[int]) -> list[float]:
        """Sum the raw (temperature 1) log-probabilities of each row's first `lengths[row]` tokens, in nats."""
        logprobs = torch.stack(self._logprobs).double()  # (steps, rows)
        steps = torch.arange(len(logprobs), device=logprobs.device)[:, None]
        counted = steps < torch.tensor(lengths, device=logprobs.device)
        return logprobs.where(counted, 0.0).sum(dim=0).tolist()

    def _noise(self, scores: torch.Tensor) -> torch.Tensor:
        waits = torch.empty_like(scores)
        for row, generator in zip(waits, self._generators, strict=True):
            row.exponential_(generator=generator)
        return -waits.clamp_min_(_TINY).log_()  # g = -log(E), E ~ Exp(1)


def _keep_nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Rule out all but the likeliest tokens that together reach `top_p` (arXiv 1904.09751)."""
    if top_p == 1:
        return scores
    ordered, order = scores.softmax(dim=-1).sort(dim=-1, descending=True)
    beyond = ordered.cumsum(dim=-1) - ordered >= top_p
    return scores.masked_fill(beyond.scatter(-1, order, beyond), -torch.inf)
