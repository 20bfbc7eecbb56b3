"""Log-probabilities of given answers under a model: token ids in, numbers of each token or one sum an answer out.

Used for the reference of a loss, for the check before the first step, and for the divergence of two policies.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Compute = Literal["float32", "bfloat16"]

_MAX_LOGITS = 1 << 28  # 1 GiB in float32: a batch of 64 answers of 500 tokens would be 19 GB with 150,000 words


def sequence_logprobs(
    model: "PreTrainedModel",
    prompt_ids: Sequence[Sequence[int]],
    completion_ids: Sequence[Sequence[int]],
    pad_id: int,
    batch_size: int,
    compute: Compute = "float32",
) -> np.ndarray:
    """Sum the log-probs of each completion's tokens given its prompt.

    Args:
        model: A causal language model; put into eval mode.
        prompt_ids: Token ids of each prompt, at least one token.
        completion_ids: Token ids of each completion, the stop token included; none of them empty.
        pad_id: Any id of the vocabulary; padded positions are masked.
        batch_size: Most sequences computed at once; fewer where their logits would take more than 1 GiB.
        compute: bfloat16 runs in mixed precision, as training with `dtype: bfloat16` does.

    Returns:
        float64 sums in nats, shape `(sequences,)`, in the order of the input.
    """
    tokens = token_logprobs(model, prompt_ids, completion_ids, pad_id, batch_size, compute)
    return np.array([one.logprobs.sum() for one in tokens], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """What a model says of one completion, token by token.

    Attributes:
        logprobs: float64, nats, shape `(tokens,)`.
        sum_sq: log sum_v p_v^2 of the distribution that each token was drawn from, same shape.
    """

    logprobs: np.ndarray
    sum_sq: np.ndarray


def token_logprobs(
    model: "PreTrainedModel",
    prompt_ids: Sequence[Sequence[int]],
    completion_ids: Sequence[Sequence[int]],
    pad_id: int,
    batch_size: int,
    compute: Compute = "float32",
) -> list[TokenLogprobs]:
    """Give the log-prob of each token of each completion given its prompt, in the order of the input.

    Sequences of like length share a batch, the longest first, so that memory runs out at once or never. The arguments
    are those of `sequence_logprobs`.
    """
    import torch

    model.eval()
    found: dict[int, TokenLogprobs] = {}
    lengths = np.array([len(p) + len(c) for p, c in zip(prompt_ids, completion_ids, strict=True)], dtype=np.int64)
    longest_first = np.argsort(-lengths, kind="stable")
    mixed = torch.autocast(model.device.type, dtype=torch.bfloat16) if compute == "bfloat16" else nullcontext()
    with torch.inference_mode(), mixed:
        start = 0
        while start < len(lengths):
            fit = _MAX_LOGITS // int(lengths[longest_first[start]] * model.config.get_text_config().vocab_size)
            rows = longest_first[start : start + max(1, min(batch_size, fit))]
            pairs = [(prompt_ids[i], completion_ids[i]) for i in rows]
            found |= zip(rows.tolist(), _batch_logprobs(model, pairs, pad_id), strict=True)
            start += len(rows)
    return [found[row] for row in range(len(lengths))]


def _batch_logprobs(
    model: "PreTrainedModel", pairs: list[tuple[Sequence[int], Sequence[int]]], pad_id: int
) -> list[TokenLogprobs]:
    import torch

    width = max(len(prompt) + len(completion) for prompt, completion in pairs)
    input_ids = torch.full((len(pairs), width), pad_id, device=model.device)
    mask = torch.zeros_like(input_ids)
    for row, (prompt, completion) in enumerate(pairs):
        ids = [*prompt, *completion]
        input_ids[row, : len(ids)] = torch.tensor(ids)
        mask[row, : len(ids)] = 1
    # Logits are most of the memory: none before the first token that is scored.
    first = min(len(prompt) for prompt, _ in pairs) - 1
    output = model(input_ids=input_ids, attention_mask=mask, use_cache=False, logits_to_keep=width - first)
    logits = output.logits[:, first - width :]  # a model without logits_to_keep gives all of them
    return [
        _row_logprobs(logits[row], completion, len(prompt) - 1 - first)
        for row, (prompt, completion) in enumerate(pairs)
    ]


def _row_logprobs(logits: "torch.Tensor", completion: Sequence[int], first: int) -> TokenLogprobs:
    """Look a completion's log-probs up in `(positions, vocabulary)`; position `first` predicts its first token."""
    import torch

    used = logits[first : first + len(completion)].float()
    labels = torch.tensor(completion, device=logits.device)
    log_z = used.logsumexp(dim=1)
    tokens = used.gather(1, labels[:, None])[:, 0] - log_z
    sum_sq = (2 * used).logsumexp(dim=1) - 2 * log_z
    return TokenLogprobs(tokens.double().cpu().numpy(), sum_sq.double().cpu().numpy())
