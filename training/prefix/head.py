"""The language-model head on scored positions only, with TRL's statistics of each next-token distribution.

TRL computes the logits twice, once more in the backward. Where they fit, the probabilities are kept instead, which
saves a quarter of the head's work; else its own function runs.
"""

from dataclasses import dataclass
from typing import Any  # autograd's context

import torch
from trl.kernels.chunked_logprob import ChunkedLogProbFunction

_MAX_KEPT = 1 << 28  # numbers: 1 GiB in float32
_TILE = 1 << 23  # logits computed at once, 32 MiB
_FEWEST_ROWS = 128  # of a tile; with 32 the multiplication takes a third longer on a CPU
_TRL_VOCABULARY_TILE = 32768  # as trl.trainer.utils has it


@dataclass(frozen=True)
class Logits:
    """How a model makes logits of what its head gives: `softcap * tanh(scale * x / softcap)`; None caps nothing."""

    scale: float
    softcap: float | None

    @classmethod
    def of(cls, config: Any) -> "Logits":
        """Read a text config as TRL's fused head does, whose names for the scale these are."""
        scale = getattr(config, "logit_scale", None)
        scale = getattr(config, "output_multiplier", None) if scale is None else scale
        scale = getattr(config, "lm_head_multiplier", None) if scale is None else scale
        divisor = getattr(config, "logits_scaling", None)
        if scale is None and divisor is not None:
            scale = divisor if config.model_type == "hyperclovax" else 1 / divisor
        return cls(1.0 if scale is None else scale, getattr(config, "final_logit_softcapping", None))


@dataclass(frozen=True)
class Scores:
    """What is said of each scored position, float32, shape `(N,)`; only the log-probs have a gradient.

    Attributes:
        log_probs: Of the label, in nats.
        entropy: Of the distribution.
        log_sum_sq_probs: log sum_v p_v^2.
        mean_logits: Over the vocabulary.
        is_top1: Whether the label is the first of the most likely tokens.
    """

    log_probs: torch.Tensor
    entropy: torch.Tensor | None
    log_sum_sq_probs: torch.Tensor | None
    mean_logits: torch.Tensor | None
    is_top1: torch.Tensor | None


def score(
    hidden: torch.Tensor,
    head: Any,
    labels: torch.Tensor,
    logits: Logits,
    outputs: tuple[str, ...],
) -> Scores:
    """Score labels under the distributions that hidden states give.

    Args:
        hidden: Shape `(N, size)`.
        head: The model's output embeddings.
        labels: Shape `(N,)`.
        logits: What the model does with the head's output.
        outputs: Names of the fields wanted beside `log_probs`.
    """
    weight, bias = head.weight, head.bias
    if hasattr(weight, "full_tensor"):  # sharded by FSDP2
        weight, bias = weight.full_tensor(), None if bias is None else bias.full_tensor()
    kept = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    if logits.softcap is not None or (kept and len(hidden) * len(weight) > _MAX_KEPT):
        found = ChunkedLogProbFunction.apply(
            hidden, weight, bias, labels, 1.0, _TRL_VOCABULARY_TILE, logits.softcap, logits.scale, outputs
        )
    else:
        found = _KeptProbabilities.apply(hidden, weight, bias, labels, logits.scale, outputs, kept)
    log_probs, *rest = found  # pyright: ignore[reportGeneralTypeIssues]
    return Scores(log_probs, *rest)


class _KeptProbabilities(torch.autograd.Function):
    """Log-probs of labels; the probabilities are kept, and become the logits' gradient in place."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, bias, labels, scale, outputs, kept = args
        device, n_tokens, n_words = hidden.device, len(hidden), len(weight)
        autocast = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if autocast else hidden.dtype
        rows = max(1, min(n_tokens, max(_TILE // n_words, _FEWEST_ROWS)))
        buffer = torch.empty((n_tokens if kept else rows, n_words), dtype=torch.float32, device=device)
        parts: list[dict[str, torch.Tensor]] = []
        sums: list[torch.Tensor] = []
        with torch.autocast(device.type, enabled=False):
            narrow, matrix = hidden.to(dtype), weight.to(dtype).t()
            for start in range(0, n_tokens, rows):
                z = torch.mm(narrow[start : start + rows], matrix)
                z = (z if bias is None else z.add_(bias.to(dtype))).float()
                e = buffer[start : start + len(z)] if kept else buffer[: len(z)]
                part, total = _fold(z if scale == 1.0 else z.mul_(scale), e, labels[start : start + rows], outputs)
                parts.append(part)
                sums.append(total)
        found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        ctx.save_for_backward(hidden, weight, labels, torch.cat(sums))
        ctx.scale, ctx.kept, ctx.has_bias = scale, buffer if kept else None, bias is not None
        fields = [found.get(name) for name in ("entropy", "log_sum_sq_probs", "mean_logits", "is_top1")]
        ctx.mark_non_differentiable(*(one for one in fields if one is not None))
        return found["log_probs"], *fields

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, labels, sums = ctx.saved_tensors
        if ctx.kept is None:
            raise RuntimeError("the probabilities were used up by a first backward: retain_graph is not supported here")
        grad, ctx.kept = ctx.kept, None
        # d log p(label) / dz_j = 1[j = label] - p_j
        outer = grads[0].float() * ctx.scale
        grad.mul_((-outer / sums)[:, None])
        grad.scatter_add_(1, labels[:, None], outer[:, None])
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        exact = hidden.device.type == "cpu"  # as TRL: sums over rounded products would drift; a GPU's are not rounded
        grad_bias = grad.sum(dim=0).to(weight.dtype) if ctx.has_bias and needs_bias else None
        narrow = grad if exact or hidden.dtype == torch.float32 else grad.to(hidden.dtype)
        grad_hidden = (narrow @ weight.to(narrow.dtype)).to(hidden.dtype) if needs_hidden else None
        grad_weight = (narrow.t() @ hidden.to(narrow.dtype)).to(weight.dtype) if needs_weight else None
        return grad_hidden, grad_weight, grad_bias, None, None, None, None


def _fold(
    z: torch.Tensor, e: torch.Tensor, labels: torch.Tensor, outputs: tuple[str, ...]
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Turn a tile of logits into its statistics, and into exp(z - max z) in `e`, whose sums it gives too."""
    top = z.amax(dim=1)
    at_label = z.gather(1, labels[:, None])[:, 0]
    found: dict[str, torch.Tensor] = {}
    if "mean_logits" in outputs:
        found["mean_logits"] = z.mean(dim=1)
    if "is_top1" in outputs:
        found["is_top1"] = _is_first_top(z, at_label >= top, labels)
    torch.sub(z, top[:, None], out=e).exp_()
    total = e.sum(dim=1)
    log_z = top + total.log()
    found["log_probs"] = at_label - log_z
    if "entropy" in outputs:
        found["entropy"] = log_z - z.mul_(e).sum(dim=1) / total
    if "log_sum_sq_probs" in outputs:
        found["log_sum_sq_probs"] = torch.mul(e, e, out=z).sum(dim=1).log() - 2 * total.log()
    return found, total


def _is_first_top(z: torch.Tensor, is_top: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of labels that are a maximum, take those with no equal one before; few labels are, so few rows are searched."""
    rows = is_top.nonzero()[:, 0]
    is_top[rows] = z[rows].argmax(dim=1) == labels[rows]
    return is_top
