"""transformers' own generation, for machines without a build of vLLM: batches of equal work, decoded to their longest.

With answers of varied length it takes about 8 times the CPU of vLLM. Requests are pulled in windows, sorted by length
and run in left-padded batches; seeds belong to rows (`generation.gumbel`), so the batch decides no answer.
"""

import gc
import logging
import time
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast  # peft and transformers wrap models without types

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from generation.adapter_files import check_adapter
from generation.config import SamplingConfig, TransformersConfig
from generation.engine import Answer, Completion, PolicyFiles, Request, Tag
from generation.gumbel import GumbelMax
from generation.render import load_tokenizer

logger = logging.getLogger(__name__)

_WINDOW_BATCHES = 16  # pulled and sorted together


class TransformersEngine:
    """A policy in transformers; loaded inside `with`."""

    def __init__(self, config: TransformersConfig, policy: PolicyFiles, k: int, sampling: SamplingConfig) -> None:
        self._config = config
        self._policy = policy
        self._k = k
        self._sampling = sampling
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model: Any = None

    @property
    def max_model_len(self) -> int:
        """Most tokens of prompt and answer together."""
        return self._max_model_len

    def __enter__(self) -> Self:
        """Load the policy.

        Raises:
            ValueError: The model names no limit of its own and the recipe none, or an adapter is pickled.
            OSError: There is no such model, or its weights are pickled.
        """
        start = time.monotonic()
        self._tokenizer = load_tokenizer(self._policy)
        model: Any = AutoModelForCausalLM.from_pretrained(
            self._policy.model,
            revision=self._policy.revision,
            trust_remote_code=self._policy.trust_remote_code,
            dtype=self._config.dtype,
            use_safetensors=True,  # never a pickle, which could run code
        )
        self._max_model_len = self._limit(model.config.get_text_config())
        self._stop_ids = _stop_ids(model.generation_config, cast("int | None", self._tokenizer.eos_token_id))
        if self._policy.adapter is not None:
            from peft import PeftModel

            check_adapter(Path(self._policy.adapter))
            model = PeftModel.from_pretrained(model, self._policy.adapter)
        pad = self._tokenizer.pad_token_id
        self._pad_id = pad if pad is not None else min(self._stop_ids, default=0)
        # A fresh one: the checkpoint's own may ask for top_k or a repetition penalty.
        model.generation_config = GenerationConfig(
            do_sample=False, eos_token_id=sorted(self._stop_ids), pad_token_id=self._pad_id
        )
        self._model = model.to(self._device).eval()
        logger.info("transformers holds %s after %.1f s", self._policy.model, time.monotonic() - start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the model."""
        self._model = None
        gc.collect()

    def sample(self, tagged: Iterable[tuple[Tag, Request]]) -> Iterator[tuple[Tag, Answer]]:
        """Answer requests batch by batch."""
        waiting = iter(tagged)
        per_batch = max(1, self._config.batch_size // self._k)
        while window := list(islice(waiting, _WINDOW_BATCHES * per_batch)):
            window.sort(key=lambda pair: (self._room(pair[1]), len(pair[1].prompt_ids)))
            # One room a batch: the batch's limit must not cut a row shorter than the row's own room.
            for room, group in groupby(window, key=lambda pair: self._room(pair[1])):
                while batch := list(islice(group, per_batch)):
                    answers = self._generate([request for _, request in batch], room)
                    yield from zip([tag for tag, _ in batch], answers, strict=True)

    def _limit(self, model: Any) -> int:
        limit = self._config.max_model_len or getattr(model, "max_position_embeddings", None)
        if limit is None:
            raise ValueError(f"{self._policy.model} names no longest input: set generation.engine.max_model_len")
        return limit

    def _room(self, request: Request) -> int:
        return min(self._sampling.max_new_tokens, self._max_model_len - len(request.prompt_ids))

    @torch.inference_mode()
    def _generate(self, requests: list[Request], max_new_tokens: int) -> list[Answer]:
        rows = [request.prompt_ids for request in requests for _ in range(self._k)]
        seeds = [request.seed + j for request in requests for j in range(self._k)]
        width = max(map(len, rows))
        ids = torch.tensor([[self._pad_id] * (width - len(row)) + row for row in rows], device=self._device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=self._device)
        sampler = GumbelMax(seeds, self._sampling, self._device)
        output = self._model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=max_new_tokens, logits_processor=[sampler]
        )
        completions = self._completions(output[:, width:].tolist(), sampler)
        return [Answer(completions[start : start + self._k]) for start in range(0, len(completions), self._k)]

    def _completions(self, rows: list[list[int]], sampler: GumbelMax) -> list[Completion]:
        kept = [self._until_stop(row) for row in rows]
        texts = self._tokenizer.batch_decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        sums = sampler.logprob_sums([len(row) for row in kept])
        return [
            Completion(text, row, total, "stop" if row[-1] in self._stop_ids else "length", len(row))
            for text, row, total in zip(texts, kept, sums, strict=True)
        ]

    def _until_stop(self, row: list[int]) -> list[int]:
        """Cut the padding that follows a row's stop token."""
        end = next((i for i, token in enumerate(row) if token in self._stop_ids), len(row) - 1)
        return row[: end + 1]


def _stop_ids(config: GenerationConfig, tokenizer_eos: int | None) -> set[int]:
    """Collect the ids that end an answer, as vLLM does: the tokenizer's EOS and those of generation_config.json."""
    eos = config.eos_token_id
    configured = eos if isinstance(eos, list) else [eos]
    return {int(token) for token in (*configured, tokenizer_eos) if token is not None}
