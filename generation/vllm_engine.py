"""vLLM in this process, fed without a pause: sequences wait in its queue until the requests end.

Shard after shard with a barrier costs up to 2.2 times the engine steps of one call with everything; a queue of three
times the running sequences costs none. The process must have been started with `engines.engine_environment`.
Log-probabilities are vLLM's `raw_logprobs`: of the untempered logits, as DPO's reference wants them.
"""

import gc
import itertools
import logging
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast  # vLLM's constructor takes arguments of many types

from generation.config import SamplingConfig, VllmConfig
from generation.engine import Answer, Completion, PolicyFiles, Request, Tag
from generation.vllm_limits import CPU_CACHE_MB, reserved_rank

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput, SamplingParams
    from vllm.lora.request import LoRARequest

logger = logging.getLogger(__name__)

QUEUE_FACTOR = 3  # sequences in flight / sequences decoded at once; 2 still costs 5 % more steps


class VllmEngine:
    """A policy in vLLM's offline engine; `llm` is open inside `with`."""

    def __init__(self, config: VllmConfig, policy: PolicyFiles, k: int, sampling: SamplingConfig) -> None:
        self._config = config
        self._policy = policy
        self._k = k
        self._sampling = sampling
        self._llm: LLM | None = None
        self._adapter: LoRARequest | None = None
        self._names = itertools.count()

    @property
    def llm(self) -> "LLM":
        """The object of vLLM."""
        if self._llm is None:
            raise RuntimeError("the engine is closed: use it inside `with engine:`")
        return self._llm

    @property
    def max_model_len(self) -> int:
        """Most tokens of prompt and answer together."""
        return self.llm.llm_engine.model_config.max_model_len

    def __enter__(self) -> Self:
        """Load the policy.

        Raises:
            RuntimeError: The process was started without the engine's environment.
        """
        if os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") != "0":
            raise RuntimeError("start this process with the variables of engines.engine_environment(config)")
        start = time.monotonic()
        import torch
        from vllm import LLM
        from vllm.lora.request import LoRARequest

        self._set_num_threads = torch.set_num_threads
        self._llm = LLM(**_arguments(self._config, self._policy))
        self._tokenizer: Any = self._llm.get_tokenizer()
        if self._policy.adapter is not None:
            # vLLM's prefix cache knows an adapter by its name alone: the name must change with the weights.
            self._adapter = LoRARequest(self._policy.key, 1, self._policy.adapter)
        logger.info("vLLM holds %s after %.1f s", self._policy.model, time.monotonic() - start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the model; only the end of the process gives all memory back."""
        import torch

        self.llm.llm_engine.engine_core.shutdown()
        self._llm = None
        torch.set_num_threads = self._set_num_threads  # on a CPU vLLM leaves one behind that does nothing
        gc.collect()

    def sample(self, tagged: Iterable[tuple[Tag, Request]]) -> Iterator[tuple[Tag, Answer]]:
        """Answer requests as they finish, keeping vLLM's queue filled from `tagged`."""
        engine = self.llm.llm_engine
        waiting = iter(tagged)
        tags: dict[str, Tag] = {}
        try:
            while True:
                self._fill(waiting, tags)
                if not tags:
                    return
                for output in engine.step():
                    if output.finished:
                        yield tags.pop(output.request_id), self._answer(cast("RequestOutput", output))
        finally:
            engine.abort_request(list(tags))

    def _fill(self, waiting: Iterator[tuple[Tag, Request]], tags: dict[str, Tag]) -> None:
        """Add requests until enough sequences are in flight or none is left; note their tags by vLLM's names."""
        from vllm.inputs import TokensInput

        engine = self.llm.llm_engine
        while engine.get_num_unfinished_requests() < QUEUE_FACTOR * self._config.max_num_seqs:
            if (tagged := next(waiting, None)) is None:
                return
            tag, request = tagged
            name = str(next(self._names))
            prompt = TokensInput(type="token", prompt_token_ids=request.prompt_ids)
            engine.add_request(name, prompt, self.params(request), lora_request=self._adapter)
            tags[name] = tag

    def params(self, request: Request) -> "SamplingParams":
        """Say to vLLM how a request is sampled."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            n=self._k,
            seed=request.seed,  # sample j is drawn with seed + j
            temperature=self._sampling.temperature,
            top_p=self._sampling.top_p,
            max_tokens=self._sampling.max_new_tokens,
            logprobs=0,  # of the sampled token only
            detokenize=False,  # the whole answer at once is cheaper than token by token
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _answer(self, output: "RequestOutput") -> Answer:
        for completion in output.outputs:
            if completion.finish_reason not in ("stop", "length"):
                return Answer([], f"engine_{completion.finish_reason}")
        ids = [list(completion.token_ids) for completion in output.outputs]
        texts = self._tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Answer(
            [
                Completion(text, row, completion.cumulative_logprob, completion.finish_reason, len(row))
                for text, row, completion in zip(texts, ids, output.outputs, strict=True)
            ]
        )


def _arguments(config: VllmConfig, policy: PolicyFiles) -> dict[str, Any]:
    """Give the arguments of vLLM's constructor: its defaults on a GPU, what a CPU needs otherwise."""
    import torch

    arguments: dict[str, Any] = {
        "model": policy.model,
        "revision": policy.revision,
        "tokenizer_revision": policy.revision,
        "trust_remote_code": policy.trust_remote_code,
        "dtype": config.dtype,
        "load_format": "safetensors",  # "auto" falls back to pickles
        "max_model_len": config.max_model_len,
        "max_num_seqs": config.max_num_seqs,
        "tensor_parallel_size": config.tensor_parallel_size,
        "kv_cache_memory_bytes": config.kv_cache_mb and config.kv_cache_mb << 20,
    }
    if policy.adapter is not None:
        arguments |= {"enable_lora": True, "max_lora_rank": reserved_rank(Path(policy.adapter))}
    if not torch.cuda.is_available():
        arguments |= {
            # The default wants 92 % of the machine's memory free and refuses to start.
            "kv_cache_memory_bytes": (config.kv_cache_mb or CPU_CACHE_MB) << 20,
            "enable_chunked_prefill": False,  # with seeds it kills the engine: "CPU Generator does not use offset"
            "enforce_eager": True,
            "block_size": 32,  # prompts share whole blocks only: 4 times less CPU than without, 2.4 at the default 128
        }
    return arguments
