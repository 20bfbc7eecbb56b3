"""From pairs to token ids: which ids a pair is trained on, and which pairs can't be trained on.

The generator's ids travel: with 1 % of tokens split in an unusual way, 39 % of 60-word answers come back from decoding
and encoding as other ids. Answers without ids of this tokenizer are tokenised once, here, and marked.
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal  # Any: rows of a table, tokenizers

import pyarrow as pa
from jinja2 import TemplateError

from generation.schema import DROPS
from training.policies.policy import PolicyLimits
from training.rows.contract import check_completion, check_prompt, check_prompt_hash
from training.rows.ledger import check_conservation, drop_row
from training.rows.pair_numbers import read_numbers, read_weight

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Side = Literal["chosen", "rejected"]
SIDES: tuple[Side, Side] = ("chosen", "rejected")


@dataclass(frozen=True)
class Rendering:
    """How conversations become token ids, the same for engines and trainers.

    Attributes:
        render_prompt: Renders messages up to where the answer begins, as token ids; for a conversation that the chat
            template refuses it raises a ValueError whose cause is the template's error.
        tokenizer_identity: Names what decides which ids a conversation gets.
        hash_token_ids: Hashes token ids, as `prompt_hash` does.
    """

    render_prompt: "Callable[[PreTrainedTokenizerBase, list[dict[str, str]]], list[int]]"
    tokenizer_identity: "Callable[[PreTrainedTokenizerBase], str]"
    hash_token_ids: Callable[[list[int]], str]


@dataclass(frozen=True, slots=True)
class Answer:
    """One side of a pair.

    Attributes:
        token_ids: What is trained on, the stop token included.
        retokenized: Whether the ids were made here from the text.
        policy: Key of the policy that wrote it.
        stored_logprob: Nats: what its generator gave for exactly these ids; None = unknown.
    """

    token_ids: list[int]
    retokenized: bool
    policy: str | None
    stored_logprob: float | None


@dataclass(frozen=True, slots=True)
class Example:
    """One pair to train on.

    Attributes:
        pair_id: Its id.
        prompt: The prompt's id.
        prompt_ids: The prompt's token ids, up to where the answer begins.
        chosen: The better answer.
        rejected: The other one.
        weight: How much the pair counts; 1 where the table says nothing.
        columns: Numbers that a loss may ask for, `training.rows.pair_numbers.NUMBERS`; None = the table says nothing.
        mismatched: Token ids of an answer to another prompt; empty unless the loss asks for it.
    """

    pair_id: str
    prompt: str
    prompt_ids: list[int]
    chosen: Answer
    rejected: Answer
    weight: float = 1.0
    columns: Mapping[str, float | None] = field(default_factory=dict)
    mismatched: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Examples:
    """All pairs of a table, each either kept or dropped.

    Attributes:
        kept: Pairs to train on, in the table's order.
        drops: The others, with the DROPS schema.
    """

    kept: list[Example]
    drops: pa.Table


def build_examples(
    pairs: pa.Table,
    tokenizer: "PreTrainedTokenizerBase",
    rendering: Rendering,
    limits: PolicyLimits,
    max_length: int | None,
    aspect_weights: Mapping[str, float] | None = None,
) -> Examples:
    """Give each pair its token ids, check the token contract, and drop what is refused, empty or too long.

    Args:
        pairs: PAIRS table.
        tokenizer: The policy's tokenizer.
        rendering: How its conversations become token ids.
        limits: The policy's longest sequence and stop tokens.
        max_length: Most tokens of prompt and answer; None takes the policy's limit.
        aspect_weights: How much each aspect counts in the number `aspect_margin`; None = no loss asks for it.

    Raises:
        ValueError: A row breaks the token contract or has a weight outside of (0, 1], a pair_id comes twice, or
            max_length is above the policy's limit.
    """
    builder = _Builder(tokenizer, rendering, limits, longest_sequence(max_length, limits), aspect_weights or {})
    kept: list[Example] = []
    drops: list[dict[str, Any]] = []
    for row in pairs.to_pylist():
        prompt_ids = builder.prompt(row)
        if prompt_ids is None:
            drops.append(drop_row(row["pair_id"], "tokenization", "template_refused", row["messages"][-1]["content"]))
            continue
        example = builder.example(row, prompt_ids)
        drop = builder.drop(row, example)
        if drop is None:
            builder.check(row, example)
            kept.append(example)
        else:
            drops.append(drop)
    check_conservation(pairs["pair_id"].to_pylist(), [example.pair_id for example in kept], drops)
    return Examples(kept, pa.Table.from_pylist(drops, schema=DROPS))


class _Builder:
    """Makes examples row by row; a prompt of several pairs is rendered once."""

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        rendering: Rendering,
        limits: PolicyLimits,
        longest: int | None,
        aspect_weights: Mapping[str, float],
    ) -> None:
        self._tokenizer: Any = tokenizer
        self._rendering = rendering
        self._limits = limits
        self._longest = longest
        self._aspect_weights = aspect_weights
        self._identity = rendering.tokenizer_identity(tokenizer)
        self._end_id = end_of_turn(tokenizer, limits.stop_ids)
        self._prompts: dict[str, list[int] | None] = {}

    def prompt(self, row: dict[str, Any]) -> list[int] | None:
        """Give the prompt's ids; None where the chat template refuses it."""
        if row["prompt_id"] not in self._prompts:
            self._prompts[row["prompt_id"]] = self._render(row)
        return self._prompts[row["prompt_id"]]

    def example(self, row: dict[str, Any], prompt_ids: list[int]) -> Example:
        return Example(
            pair_id=row["pair_id"],
            prompt=row["prompt_id"],
            prompt_ids=prompt_ids,
            chosen=self._answer(row, "chosen"),
            rejected=self._answer(row, "rejected"),
            weight=read_weight(row),
            columns=read_numbers(row, self._aspect_weights),
        )

    def drop(self, row: dict[str, Any], example: Example) -> dict[str, Any] | None:
        """Give the ledger's row of a pair that can't be trained on; None for the others."""
        if self._longest is not None and len(example.prompt_ids) >= self._longest:
            context, most = row["messages"][-1]["content"], self._longest - 1  # one token is left for an answer
            return drop_row(row["pair_id"], "max_length", "prompt_too_long", context, len(example.prompt_ids), most)
        for side, answer in zip(SIDES, (example.chosen, example.rejected), strict=True):
            content = sum(token not in self._limits.stop_ids for token in answer.token_ids)
            if content == 0:
                return drop_row(row["pair_id"], "tokenization", "empty_completion", row[side], 0, 1)
        if example.chosen.token_ids == example.rejected.token_ids:
            return drop_row(row["pair_id"], "tokenization", "identical_answers", row["chosen"])
        lengths = {"chosen": len(example.chosen.token_ids), "rejected": len(example.rejected.token_ids)}
        longer: Side = max(SIDES, key=lambda side: lengths[side])
        length = len(example.prompt_ids) + lengths[longer]
        if self._longest is not None and length > self._longest:
            return drop_row(row["pair_id"], "max_length", "too_long", row[longer], length, self._longest)
        return None

    def check(self, row: dict[str, Any], example: Example) -> None:
        """Hold a pair against the token contract."""
        check_completion(
            example.pair_id, "chosen", example.chosen.token_ids, row["chosen_finish_reason"], self._limits.stop_ids
        )
        check_completion(
            example.pair_id,
            "rejected",
            example.rejected.token_ids,
            row["rejected_finish_reason"],
            self._limits.stop_ids,
        )
        if row["prompt_hash"] is not None and not (example.chosen.retokenized and example.rejected.retokenized):
            found = self._rendering.hash_token_ids(example.prompt_ids)
            check_prompt_hash(example.pair_id, found, row["prompt_hash"])

    def _render(self, row: dict[str, Any]) -> list[int] | None:
        try:
            ids = self._rendering.render_prompt(self._tokenizer, row["messages"])
        except ValueError as error:
            if isinstance(error.__cause__, TemplateError):
                return None
            raise
        check_prompt(row["pair_id"], ids, self._tokenizer.bos_token_id, self._bos_written(row["messages"]))
        return ids

    def _answer(self, row: dict[str, Any], side: Side) -> Answer:
        ids, policy = row[f"{side}_token_ids"], row[f"{side}_policy"]
        if ids is not None and row[f"{side}_tokenizer"] == self._identity:
            return Answer(ids, False, policy, row[f"{side}_logprob_sum"])
        # Special tokens in the text stay text: an imported "<|eos|>" is no stop token.
        ids = self._tokenizer(row[side], add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if row[f"{side}_finish_reason"] != "length":
            ids = [*ids, self._end_id]
        return Answer(ids, True, policy, None)

    def _bos_written(self, messages: list[dict[str, str]]) -> int:
        """Count the BOS tokens in the text that the chat template writes."""
        if self._tokenizer.bos_token is None:
            return 0
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return str(text).count(str(self._tokenizer.bos_token))


def end_of_turn(tokenizer: Any, stop_ids: Set[int]) -> int:
    """Give the stop token that the chat template ends an answer with, as the policy's own answers do.

    It is not always EOS: Gemma ends a turn with <end_of_turn>, Phi with <|end|>. A template that writes none, or that
    refuses a plain question and answer, leaves EOS.
    """
    turns = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "Four."}]
    try:
        text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    except TemplateError:
        return tokenizer.eos_token_id
    after = tokenizer(text.rpartition("Four.")[2], add_special_tokens=False)["input_ids"]
    return next((token for token in after if token in stop_ids), tokenizer.eos_token_id)


def longest_sequence(max_length: int | None, limits: PolicyLimits) -> int | None:
    """Give the most tokens of prompt and answer; None = any.

    Raises:
        ValueError: The model has fewer positions.
    """
    if max_length is not None and limits.max_positions is not None and max_length > limits.max_positions:
        raise ValueError(
            f"training.max_length is {max_length}, but the model has {limits.max_positions} positions: lower it, or "
            "leave it out to take the model's limit"
        )
    return limits.max_positions if max_length is None else max_length
