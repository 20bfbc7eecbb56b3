"""From answers to token ids: which ids supervised fine-tuning trains on, and which rows it can't train on.

A row is a prompt as the generator renders it, up to where the answer begins, and an answer that ends in one stop token.
The generator's own ids of an answer are taken where the table has them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any  # Any: rows of a table, tokenizers

import pyarrow as pa
from jinja2 import TemplateError

from generation.schema import CONTEXT_CHARS, DROPS
from training.policies.policy import PolicyLimits
from training.rows.contract import check_completion, check_prompt, check_prompt_hash
from training.rows.examples import Rendering, end_of_turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class SftExample:
    """One answer to train on.

    Attributes:
        candidate_id: Its id.
        prompt: The prompt's id.
        prompt_ids: Token ids that are read only.
        completion_ids: Token ids that are learned, one stop token at their end.
        retokenized: Whether the completion's ids were made here from the text.
        as_template: Whether the chat template, given the whole conversation, writes this answer right behind the
            prompt, nothing but white space between them.
    """

    candidate_id: str
    prompt: str
    prompt_ids: list[int]
    completion_ids: list[int]
    retokenized: bool
    as_template: bool

    @property
    def n_tokens(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True)
class SftExamples:
    """All rows of a table, each either kept or dropped.

    Attributes:
        kept: In the table's order.
        drops: The others, with the DROPS schema.
    """

    kept: list[SftExample]
    drops: pa.Table


def build_sft_examples(
    rows: pa.Table,
    tokenizer: "PreTrainedTokenizerBase",
    rendering: Rendering,
    limits: PolicyLimits,
    longest: int | None,
) -> SftExamples:
    """Give each answer its token ids, check the token contract, and drop what can't be trained on.

    Args:
        rows: Table of `training.schema.SFT_ROWS`.
        tokenizer: The policy's tokenizer.
        rendering: How conversations become token ids.
        limits: The policy's stop tokens.
        longest: Most tokens of prompt and answer; None = no limit.

    Raises:
        ValueError: A row breaks the token contract.
    """
    builder = _Builder(tokenizer, rendering, limits)
    kept: list[SftExample] = []
    drops: list[dict[str, Any]] = []
    for row in rows.to_pylist():
        made = builder.example(row)
        if isinstance(made, SftExample) and longest is not None and made.n_tokens > longest:
            made = _drop(row, "max_length", "too_long", made.n_tokens, longest)
        if isinstance(made, SftExample):
            kept.append(made)
        else:
            drops.append(made)
    if len(kept) + len(drops) != rows.num_rows:
        raise RuntimeError(f"{rows.num_rows} rows in, {len(kept)} kept and {len(drops)} dropped: rows were lost")
    return SftExamples(kept, pa.Table.from_pylist(drops, schema=DROPS))


class _Builder:
    """Makes examples row by row."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", rendering: Rendering, limits: PolicyLimits) -> None:
        self._tokenizer: Any = tokenizer
        self._rendering = rendering
        self._stop_ids = limits.stop_ids
        self._identity = rendering.tokenizer_identity(tokenizer)
        self._end_id = end_of_turn(tokenizer, limits.stop_ids)

    def example(self, row: dict[str, Any]) -> SftExample | dict[str, Any]:
        """Make an example of a row, or a row of the ledger."""
        if row["finish_reason"] == "length":
            return _drop(row, "tokenization", "cut_answer")
        prompt_ids = self._prompt(row)
        if prompt_ids is None:
            return _drop(row, "tokenization", "template_refused")
        own = row["tokenizer"] == self._identity and row["token_ids"] is not None
        known: Any = row["token_ids"]
        ids: list[int] = known if own else self._tokenize(row["completion"])
        if own and row["finish_reason"] == "stop":
            check_completion(row["candidate_id"], "only", ids, "stop", self._stop_ids)
        ids = self._with_stop(ids)
        if len(ids) < 2:
            return _drop(row, "tokenization", "empty_completion", 0, 1)
        check_completion(row["candidate_id"], "only", ids, "stop", self._stop_ids)
        if own and row["prompt_hash"] is not None:
            found = self._rendering.hash_token_ids(prompt_ids)
            check_prompt_hash(row["candidate_id"], found, row["prompt_hash"])
        return SftExample(row["candidate_id"], row["prompt_id"], prompt_ids, ids, not own, self._is_as_template(row))

    def _with_stop(self, ids: list[int]) -> list[int]:
        return ids if ids and ids[-1] in self._stop_ids else [*ids, self._end_id]

    def _tokenize(self, text: str) -> list[int]:
        # Special tokens in the text stay text: an imported "<|eos|>" is no stop token.
        return self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    def _prompt(self, row: dict[str, Any]) -> list[int] | None:
        """Render the prompt; None where the chat template refuses it."""
        try:
            ids = self._rendering.render_prompt(self._tokenizer, row["messages"])
        except ValueError as error:
            if isinstance(error.__cause__, TemplateError):
                return None
            raise
        bos = self._tokenizer.bos_token
        written = 0 if bos is None else self._text(row["messages"], add_generation_prompt=True).count(str(bos))
        check_prompt(row["candidate_id"], ids, self._tokenizer.bos_token_id, written)
        return ids

    def _is_as_template(self, row: dict[str, Any]) -> bool:
        """Hold the boundary against the template's rendering of the whole conversation."""
        prompt = self._text(row["messages"], add_generation_prompt=True)
        try:
            whole = self._text([*row["messages"], {"role": "assistant", "content": row["completion"]}])
        except TemplateError:
            return False
        return whole.startswith(prompt.rstrip()) and whole[len(prompt.rstrip()) :].lstrip().startswith(
            row["completion"].strip()
        )

    def _text(self, messages: list[dict[str, str]], **options: bool) -> str:
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False, **options))


def _drop(
    row: dict[str, Any], step: str, reason: str, value: float | None = None, threshold: float | None = None
) -> dict[str, Any]:
    return {
        "kind": "candidate", "id": row["candidate_id"], "stage": "training", "step": step, "reason": reason,
        "value": value, "threshold": threshold, "context": row["completion"][:CONTEXT_CHARS].replace("\n", " "),
    }  # fmt: skip
