"""Log-probs of given answers, each prompt computed once: what a reference says, for less.

The check before the first step computes the policy's log-probs by `training.logprobs` instead, row by row, so that a
wrong plan can't hide in both.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any  # models of untyped libraries

from training.logprobs import Compute, TokenLogprobs


def shared_token_logprobs(
    model: Any,
    prompt_ids: Sequence[Sequence[int]],
    completion_ids: Sequence[Sequence[int]],
    batch_size: int,
    compute: Compute = "float32",
) -> list[TokenLogprobs]:
    """Give what `training.logprobs.token_logprobs` gives, in the order of the input.

    Args:
        model: A model that `training.prefix.support` allows, or a PEFT wrapper of one; put into eval mode.
        prompt_ids: Token ids of each prompt.
        completion_ids: Token ids of each completion.
        batch_size: As many tokens are computed at once as so many of the longest sequences have, more only where one
            prompt with all its completions does.
        compute: Number format.
    """
    import torch
    from peft import PeftModel

    from training.prefix.forward import shared_attention, shared_scores
    from training.prefix.plan import plan_batch

    model.eval()
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    mixed = torch.autocast(model.device.type, dtype=torch.bfloat16) if compute == "bfloat16" else nullcontext()
    found: dict[int, TokenLogprobs] = {}
    with torch.inference_mode(), mixed, shared_attention(inner):
        for rows in _batches(prompt_ids, completion_ids, batch_size):
            plan = plan_batch([prompt_ids[row] for row in rows], [completion_ids[row] for row in rows])
            plan = plan.to(model.device)
            scores: Any = shared_scores(inner, plan, ("log_sum_sq_probs",))
            both = [plan.to_rows(one).double().cpu().numpy() for one in (scores.log_probs, scores.log_sum_sq_probs)]
            for at, row in enumerate(rows):
                first = len(prompt_ids[row]) - 1
                found[row] = TokenLogprobs(*(one[at, first : first + len(completion_ids[row])] for one in both))
    return [found[row] for row in range(len(prompt_ids))]


def _batches(
    prompt_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[int]], batch_size: int
) -> Iterator[list[int]]:
    """Put the rows of prompts together up to a number of tokens, a prompt's rows always."""
    rows_of: dict[tuple[int, ...], list[int]] = {}
    for row, prompt in enumerate(prompt_ids):
        rows_of.setdefault(tuple(prompt), []).append(row)
    longest = max((len(p) + len(c) for p, c in zip(prompt_ids, completion_ids, strict=True)), default=0)
    batch, n_tokens = [], 0
    for prompt, rows in rows_of.items():
        more = len(prompt) + sum(len(completion_ids[row]) for row in rows)
        if batch and n_tokens + more > batch_size * longest:
            yield batch
            batch, n_tokens = [], 0
        batch, n_tokens = batch + rows, n_tokens + more
    if batch:
        yield batch
