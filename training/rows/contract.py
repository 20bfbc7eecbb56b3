"""The token contract between generation and the loss, checked on every row before training.

A prompt has the BOS tokens that its template writes and never two at its start; a finished answer ends in exactly one
stop token, an answer cut by its length has none; the ids are the generator's. A broken contract is a fault of the
run, not of a row: a second BOS alone has cost published models 6 MMLU points, and none of these shows in the loss.
"""

from collections.abc import Sequence, Set
from typing import Any  # tokenizers


def check_tokenizer(tokenizer: Any, model: str) -> None:
    """Check that conversations can become token ids as the generator makes them.

    Args:
        tokenizer: The policy's tokenizer.
        model: Named in errors.

    Raises:
        ValueError: It has no chat template.
    """
    if not tokenizer.chat_template:
        raise ValueError(
            f"{model} has no chat template, so nobody knows where an answer begins and ends: take an instruction-tuned "
            "model, or put the chat_template.jinja that the model was tuned with into its folder"
        )


def check_prompt(pair_id: str, prompt_ids: Sequence[int], bos_id: int | None, n_bos: int) -> None:
    """Check a rendered prompt.

    Args:
        pair_id: Named in errors.
        prompt_ids: Its token ids, the generation prompt included.
        bos_id: The tokenizer's BOS token; None = it has none.
        n_bos: BOS tokens in the text that the chat template writes.

    Raises:
        ValueError: The prompt is empty, opens with two BOS tokens, or has another number of them than the template
            writes.
    """
    if not prompt_ids:
        raise ValueError(
            f"pair {pair_id}: the chat template renders its prompt as nothing; expected at least one token"
        )
    if bos_id is None:
        return
    if list(prompt_ids[:2]) == [bos_id, bos_id]:
        raise ValueError(f"pair {pair_id}: its prompt opens with two BOS tokens ({bos_id}); expected at most one")
    found = list(prompt_ids).count(bos_id)
    if found != n_bos:
        raise ValueError(
            f"pair {pair_id}: its prompt has {found} BOS tokens ({bos_id}); expected {n_bos}, as the chat template "
            "writes them"
        )


def check_completion(
    pair_id: str, side: str, token_ids: Sequence[int], finish_reason: str | None, stop_ids: Set[int]
) -> None:
    """Check where the stop tokens of an answer stand.

    Args:
        pair_id: Named in errors, as is `side`.
        side: chosen or rejected.
        token_ids: The answer's ids, not empty.
        finish_reason: stop, length, or None = unknown, which may have a stop token at its end.
        stop_ids: Token ids that end an answer.

    Raises:
        ValueError: A stop token is missing, doubled, followed by something, or stands in an answer that was cut.
    """
    stops = [position for position, token in enumerate(token_ids) if token in stop_ids]
    last = len(token_ids) - 1
    if finish_reason == "length" and stops:
        wanted = "none in an answer cut by its length"
    elif finish_reason == "stop" and stops != [last]:
        wanted = "exactly one, at the end of a finished answer"
    elif stops not in ([], [last]):
        wanted = "at most one, at the end"
    else:
        return
    raise ValueError(
        f"pair {pair_id}: its {side} answer of {len(token_ids)} tokens has stop tokens at positions {stops}; expected "
        f"{wanted} (stop tokens: {sorted(stop_ids)}, finish reason: {finish_reason})"
    )


def check_prompt_hash(pair_id: str, found: str, expected: str) -> None:
    """Check that the trainer's prompt is the one that the generator's engine saw.

    Raises:
        ValueError: It is another one.
    """
    if found != expected:
        raise ValueError(
            f"pair {pair_id}: its prompt renders to other token ids here (hash {found}) than the generator's engine "
            f"saw (hash {expected}), though both have the same tokenizer; expected one rendering of the chat template"
        )
