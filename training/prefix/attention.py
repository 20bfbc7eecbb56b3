"""Attention over a flat batch: a prompt sees itself, an answer sees its prompt and itself.

Registered with transformers under a name; without a plan it is transformers' own SDPA, so that generation works.

On a CPU, and in float32 on a GPU, SDPA runs per segment. On a GPU in half precision keys and values are gathered per
segment for one call of FlashAttention for uneven lengths; that path has not run on a GPU yet, and
`training.prefix.support` compares it with the plain model before anything is trained.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple  # Any: arguments of an untyped library

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from training.prefix.plan import PrefixPlan

NAME = "prefix_shared"


def register() -> None:
    """Make the attention known to transformers under `NAME`."""
    AttentionInterface.register(NAME, prefix_shared_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def prefix_shared_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    prefix_plan: PrefixPlan | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as transformers' attention functions do.

    Args:
        module: The layer.
        query: Shape `(1, heads, T, size)` with a plan.
        key: Shape `(1, key heads, T, size)`; key heads divide heads.
        value: The same.
        attention_mask: Ignored where there is a plan.
        prefix_plan: The flat batch's plan; None = an ordinary batch.
        kwargs: `scaling`, `dropout` and what else transformers passes.

    Returns:
        Shape `(1, T, heads, size)`, and no weights.
    """
    if prefix_plan is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    scaling, dropout = kwargs.get("scaling"), kwargs.get("dropout", 0.0)
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and not dropout:
        return _in_one_call(query, key, value, prefix_plan, scaling), None
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    return _by_segment(query, key, value, prefix_plan, {"scale": scaling, "dropout_p": dropout}), None


class _Segment(NamedTuple):
    """Consecutive queries of a flat batch: the number of the segment of their prompt, None for a prompt itself."""

    length: int
    prompt: int | None
    prompt_length: int


def _segments(plan: PrefixPlan) -> Iterator[_Segment]:
    number = 0
    for group in plan.groups:
        yield _Segment(group.prompt, None, 0)
        yield from (_Segment(length, number, group.prompt) for length in group.answers)
        number += 1 + len(group.answers)


def _by_segment(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, plan: PrefixPlan, options: dict[str, Any]
) -> torch.Tensor:
    """Run SDPA once for all segments of a shape."""
    segments = list(_segments(plan))
    # One split and one concatenation: a slice for each segment would cost a pass over the batch in the backward.
    queries, keys, values = (x.split([one.length for one in segments], dim=2) for x in (query, key, value))
    alike: dict[tuple[int, int], list[int]] = {}
    for number, one in enumerate(segments):
        alike.setdefault((one.length, one.prompt_length), []).append(number)
    found: list[torch.Tensor] = [query] * len(segments)
    for (length, before), numbers in alike.items():
        prompts = [segments[number].prompt for number in numbers]
        out = scaled_dot_product_attention(
            _stack(queries, numbers, None),
            _stack(keys, numbers, prompts),
            _stack(values, numbers, prompts),
            attn_mask=_lower_right(length, before, query.device) if before and length > 1 else None,
            is_causal=not before,
            **options,
        )
        for number, one in zip(numbers, out.transpose(1, 2).split(1), strict=True):
            found[number] = one
    return torch.cat(found, dim=1)


def _stack(pieces: tuple[torch.Tensor, ...], numbers: list[int], prompts: list[int | None] | None) -> torch.Tensor:
    """Put segments of one length into one batch, each after its prompt where it has one."""
    if prompts is None or prompts[0] is None:
        rows = [pieces[number] for number in numbers]
    else:
        pairs = zip(prompts, numbers, strict=True)
        rows = [torch.cat((pieces[prompt], pieces[number]), dim=2) for prompt, number in pairs if prompt is not None]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def _lower_right(length: int, before: int, device: torch.device) -> torch.Tensor:
    """Let each of `length` queries see what stands before them all, and itself, and those in between."""
    return torch.ones(length, before + length, dtype=torch.bool, device=device).tril(before)


def _in_one_call(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, plan: PrefixPlan, scaling: float | None
) -> torch.Tensor:
    """Run FlashAttention over all segments, whose causal mask is aligned to the lower right."""
    from torch.nn.attention.varlen import varlen_attn

    at = plan.gathered
    out: Any = varlen_attn(
        query[0].transpose(0, 1).contiguous(),
        key[0].transpose(0, 1)[at.keys],
        value[0].transpose(0, 1)[at.keys],
        at.query_starts,
        at.key_starts,
        at.longest_query,
        at.longest_key,
        scale=scaling,
        window_size=(-1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out[None]
