"""A reward model in vLLM's offline engine: rows of token ids in, one raw logit each out, equal prompts computed once.

vLLM reads the logit at a row's last token and has no padding; rows are cut so that this is the token that transformers
reads. Its sigmoid, on by default for one output, is off: rewards would saturate.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast  # Any: configs of untyped libraries

from judging.model_config import RewardModelConfig
from judging.offline_vllm import open_vllm
from judging.reward.reward_transformers import load_model

if TYPE_CHECKING:
    from vllm import LLM, PoolingRequestOutput


class VllmReward:
    """A reward model, loaded inside `with`.

    Raises:
        ValueError: The checkpoint is no sequence classifier of transformers, which is what vLLM runs the same way; on
            opening, if it lacks the reward head.
    """

    def __init__(self, config: RewardModelConfig, model_config: Any, max_length: int | None) -> None:
        """Take the recipe's part, transformers' config of the model, and the most tokens of a row."""
        architectures = model_config.architectures or []
        if not any(name.endswith("ForSequenceClassification") for name in architectures):
            raise ValueError(
                f"model {config.model!r} was saved as {', '.join(architectures) or 'nothing known'}, engine vllm runs "
                "reward models saved as ...ForSequenceClassification: set engine to transformers"
            )
        self._config = config
        self._max_length = max_length
        self._own_pad: int | None = model_config.get_text_config().pad_token_id
        self._names = itertools.count()

    def __enter__(self) -> Self:
        """Load the model."""
        config = self._config
        load_model(config, "meta")  # vLLM 0.30 runs a checkpoint without its head with a random one, without a word
        self._stack = ExitStack()
        self._llm: LLM = self._stack.enter_context(
            open_vllm(
                config.kv_cache_mb,
                model=config.model,
                revision=config.revision,
                tokenizer_revision=config.revision,
                trust_remote_code=config.trust_remote_code,
                dtype=config.dtype,
                max_model_len=self._max_length,
                max_num_seqs=config.batch_size,
                runner="pooling",
                convert="classify",
            )
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the model."""
        del self._llm
        self._stack.close()

    def logits(self, rows: Sequence[list[int]]) -> Iterator[tuple[int, float]]:
        """Yield the index and the logit of each row as it becomes known."""
        from vllm import PoolingParams
        from vllm.inputs import TokensInput

        engine = self._llm.llm_engine
        params = PoolingParams(task="classify", use_activation=False)
        waiting: dict[str, int] = {}
        try:
            for index, ids in enumerate(rows):
                name = str(next(self._names))
                engine.add_request(name, TokensInput(type="token", prompt_token_ids=self._cut(ids)), params)
                waiting[name] = index
            while waiting:
                for output in engine.step():
                    data = cast("PoolingRequestOutput[Any]", output).outputs.data
                    yield waiting.pop(output.request_id), float(data[0])
        finally:
            engine.abort_request(list(waiting))

    def _cut(self, ids: list[int]) -> list[int]:
        """Cut a row behind the last token that is not the model's pad id: transformers reads the logit there."""
        end = len(ids)
        while end > 1 and ids[end - 1] == self._own_pad:
            end -= 1
        return ids[:end]
