"""The generation stage over one shard: prompts in, exactly k candidates for each, or the prompt in the drop ledger.

`items`, `stream` and `collect` are the shape that the flow's shard mapper drives: rows of many shards are on their way
through the engine at once, and a shard is collected when its last row is done.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from generation.config import SamplingConfig
from generation.drops import Drop, drops_table
from generation.engine import Answer, Completion, Engine, PolicyFiles, Request, Tag
from generation.identity import base_seed, candidate_id, hash_token_ids
from generation.render import RenderError, render_prompt, tokenizer_identity
from generation.schema import CANDIDATES, TOKEN_IDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPT_TOO_LONG = "prompt_too_long"
TEMPLATE_REFUSED = "template_refused"
FEWER_CANDIDATES = "fewer_candidates"


class Sampling:
    """Samples k candidates per prompt from one policy through an open engine."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: "PreTrainedTokenizerBase | None",
        policy: PolicyFiles,
        k: int,
        sampling: SamplingConfig,
        run_seed: int,
        round: int,
    ) -> None:
        """Hold what every shard shares.

        Args:
            engine: An open engine for the same policy, k and sampling.
            tokenizer: The policy's; None for an outside server whose tokenizer is not known: it renders itself.
            policy: What is sampled from.
            k: Candidates per prompt.
            sampling: How each is drawn.
            run_seed: The run's seed.
            round: The round, from 1: a prompt sampled again in another round gets other seeds.

        Raises:
            ValueError: k answers are wanted at temperature 0, or the chat template renders no plain question.
        """
        if sampling.temperature == 0 and k > 1:
            raise ValueError(f"temperature 0 draws the same answer k = {k} times: raise it, or set k to 1")
        if tokenizer is not None:
            render_prompt(tokenizer, [{"role": "user", "content": "Hello"}])
        self._engine = engine
        self._tokenizer = tokenizer
        self._tokenizer_key = tokenizer_identity(tokenizer) if tokenizer is not None else None
        self._policy = policy
        self._k = k
        self._sampling = sampling.model_dump_json()
        self._run_seed = run_seed
        self._round = round

    def items(self, table: pa.Table) -> list[Request]:
        """Render a shard of prompts (schema PROMPTS) and seed them, in order."""
        prompts = zip(table["prompt_id"].to_pylist(), table["messages"].to_pylist(), strict=True)
        return [
            Request(prompt_id, messages, self._render(messages), self._seed(prompt_id))
            for prompt_id, messages in prompts
        ]

    def stream(self, tagged: Iterable[tuple[Tag, Request]]) -> Iterator[tuple[Tag, Answer]]:
        """Send requests through the engine; those that it could not take are answered on the way, with an error."""
        refused: deque[tuple[Tag, Answer]] = deque()

        def taken() -> Iterator[tuple[Tag, Request]]:
            for tag, request in tagged:
                if (error := self._refusal(request)) is None:
                    yield tag, request
                else:
                    refused.append((tag, Answer([], error)))

        for answered in self._engine.sample(taken()):
            yield answered
            while refused:
                yield refused.popleft()
        yield from refused

    def collect(self, table: pa.Table, requests: list[Request], answers: list[Answer]) -> dict[str, pa.Table]:
        """Turn the answers of one shard into tables.

        Returns:
            `part`: k candidates per answered prompt, in order. `drops`: the other prompts.
        """
        if not table.num_rows == len(requests) == len(answers):
            raise ValueError(f"{table.num_rows} prompts, {len(requests)} requests, {len(answers)} answers: must agree")
        kept: list[tuple[Request, Answer]] = []
        drops: list[Drop] = []
        for request, answer in zip(requests, answers, strict=True):
            if answer.error is None and len(answer.completions) == self._k:
                kept.append((request, answer))
            else:
                drops.append(self._drop(request, answer))
        return {"part": self._candidates(kept), "drops": drops_table(drops)}

    def _render(self, messages: list[dict[str, str]]) -> list[int]:
        """Give no ids for a conversation that the template refuses; `_refusal` sees that."""
        if self._tokenizer is None:
            return []
        try:
            return render_prompt(self._tokenizer, messages)
        except RenderError:
            return []

    def _seed(self, prompt_id: str) -> int:
        return base_seed(self._run_seed, self._round, prompt_id, self._k)

    def _refusal(self, request: Request) -> str | None:
        if self._tokenizer is not None and not request.prompt_ids:
            return TEMPLATE_REFUSED
        return PROMPT_TOO_LONG if len(request.prompt_ids) + 1 > self._engine.max_model_len else None

    def _drop(self, request: Request, answer: Answer) -> Drop:
        reason, value, threshold = answer.error or FEWER_CANDIDATES, None, None
        if reason == PROMPT_TOO_LONG:
            value, threshold = len(request.prompt_ids), self._engine.max_model_len - 1
        elif reason == FEWER_CANDIDATES:
            value, threshold = len(answer.completions), self._k
        context = request.messages[-1]["content"]
        return Drop("prompt", request.prompt_id, "generation", "sampling", reason, value, threshold, context)

    def _candidates(self, kept: list[tuple[Request, Answer]]) -> pa.Table:
        requests = [request for request, _ in kept]
        completions = [completion for _, answer in kept for completion in answer.completions]
        prompt_ids = [request.prompt_id for request in requests]
        indices = list(range(self._k)) * len(requests)
        seeds = [request.seed + j for request in requests for j in range(self._k)]
        has_ids = [completion.token_ids is not None for completion in completions]
        columns = {
            "prompt_id": _repeat(prompt_ids, self._k),
            "candidate_id": [
                candidate_id(prompt_id, self._policy.key, self._sampling, seed, j)
                for prompt_id, seed, j in zip(_repeat(prompt_ids, self._k), seeds, indices, strict=True)
            ],
            "sample_index": indices,
            "text": [completion.text for completion in completions],
            "finish_reason": [completion.finish_reason for completion in completions],
            "token_ids": _id_lists(completions),
            "logprob_sum": [completion.logprob_sum for completion in completions],
            "n_tokens": [completion.n_tokens for completion in completions],
            "policy": [self._policy.key] * len(completions),
            "sampling": [self._sampling] * len(completions),
            "seed": seeds,
            "tokenizer": [self._tokenizer_key if known else None for known in has_ids],
            "prompt_hash": _repeat([_prompt_hash(request) for request in requests], self._k),
            "n_prompt_tokens": _repeat([len(request.prompt_ids) or None for request in requests], self._k),
        }
        return pa.table(columns, schema=CANDIDATES)


def _repeat(values: list, times: int) -> list:
    return [value for value in values for _ in range(times)]


def _prompt_hash(request: Request) -> str | None:
    return hash_token_ids(request.prompt_ids) if request.prompt_ids else None


def _id_lists(completions: list[Completion]) -> pa.Array:
    """Build the list column from one flat array: 7 times cheaper than from Python lists."""
    ids = [completion.token_ids for completion in completions]
    offsets = np.cumsum([0, *(len(row or ()) for row in ids)], dtype=np.int32)
    flat = np.fromiter((token for row in ids if row for token in row), dtype=np.int32, count=offsets[-1])
    missing = pa.array([row is None for row in ids], type=pa.bool_())
    return pa.ListArray.from_arrays(offsets, flat, type=TOKEN_IDS, mask=missing)
