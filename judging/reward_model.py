"""A sequence-classification reward model as a judge: its raw logit for a prompt and an answer, by either engine.

The score of an item is that of the item alone, whichever items it is scored with.
"""

# The configs and tokenizers of transformers are chosen at run time and have no static types.

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Generic, Protocol, Self

from judging.judge import Item, Tag, Verdict
from judging.model_config import RewardModelConfig
from judging.reward.reward_rows import load_tokenizer, tokenize_items

log = logging.getLogger(__name__)

_WINDOW = 4096  # items tokenised and sorted by length together; more saves padding, fewer gives results sooner
_NO_LIMIT = 1_000_000  # tokenizers without a limit state one of about 1e30


class RewardEngine(Protocol):
    """What runs a reward model."""

    def logits(self, rows: Sequence[list[int]]) -> Iterator[tuple[int, float]]:
        """Yield the index and the raw logit of each row of token ids, in any order."""
        ...


@dataclass(frozen=True, slots=True)
class _Row(Generic[Tag]):
    tag: Tag
    ids: list[int]


class RewardModel:
    """Scores by a reward model while it is open.

    Raises:
        ValueError: On opening, if the model does not have exactly one trained output, if it has no chat template, if
            `max_length` is above the model's own limit, or if its repository wants to run code of its own and the
            recipe does not say `trust_remote_code`.
    """

    def __init__(self, config: RewardModelConfig) -> None:
        self._config = config

    def __enter__(self) -> Self:
        """Load model and tokenizer."""
        with ExitStack() as stack:
            model_config = _load_model_config(self._config)
            self._tokenizer = load_tokenizer(self._config)
            self._max_length = _find_max_length(self._config, model_config, self._tokenizer)
            self._engine = stack.enter_context(_build_engine(self._config, model_config, self._max_length))
            self._stack = stack.pop_all()
        log.info("opened reward model %s in %s", self._config.model, self._config.engine)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the model's memory."""
        del self._engine, self._tokenizer
        self._stack.close()

    def score(self, tagged: Iterable[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Verdict]]:
        """Yield the logit of each item, window by window, longest rows of a window first.

        Verdicts without a score have the reason `too_long`, `not_finite`, or one of `reward_rows.tokenize_items`.
        """
        source = iter(tagged)
        while window := list(islice(source, _WINDOW)):
            yield from self._score_window(window)

    def _score_window(self, window: Sequence[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Verdict]]:
        rows: list[_Row[Tag]] = []
        for tag, ids in tokenize_items(self._tokenizer, window):
            if isinstance(ids, str):
                yield tag, Verdict(score=None, reason=ids)
            elif self._max_length is not None and len(ids) > self._max_length:
                yield tag, Verdict(score=None, reason="too_long", n_tokens_in=len(ids))
            else:
                rows.append(_Row(tag, ids))
        rows.sort(key=lambda row: -len(row.ids))  # too little memory shows at the first batch
        for index, logit in self._engine.logits([row.ids for row in rows]):
            row = rows[index]
            if math.isfinite(logit):
                yield row.tag, Verdict(score=logit, n_tokens_in=len(row.ids))
            else:
                yield row.tag, Verdict(score=None, reason="not_finite", n_tokens_in=len(row.ids))


def _build_engine(
    config: RewardModelConfig, model_config: Any, max_length: int | None
) -> AbstractContextManager[RewardEngine]:
    if config.engine == "vllm":
        from judging.reward.reward_vllm import VllmReward

        return VllmReward(config, model_config, max_length)
    from judging.reward.reward_transformers import TransformersReward

    return TransformersReward(config)


def _load_model_config(config: RewardModelConfig) -> Any:
    from transformers import AutoConfig

    model_config = AutoConfig.from_pretrained(
        config.model, revision=config.revision, trust_remote_code=config.trust_remote_code
    )
    if model_config.num_labels != 1:
        raise ValueError(
            f"model {config.model!r} has {model_config.num_labels} outputs, a reward model has one: a language model "
            "without a reward head, or a classifier, cannot score answers"
        )
    return model_config


def _find_max_length(config: RewardModelConfig, model_config: Any, tokenizer: Any) -> int | None:
    """Give the most tokens of a row; None where neither model nor tokenizer states a limit."""
    positions = getattr(model_config.get_text_config(), "max_position_embeddings", None)
    if config.max_length is None:
        stated = [limit for limit in (positions, tokenizer.model_max_length) if limit and limit < _NO_LIMIT]
        return min(stated, default=None)
    if positions is not None and config.max_length > positions:
        raise ValueError(
            f"max_length {config.max_length} is above the {positions} positions of model {config.model!r}: "
            "lower it, or leave it out to take the model's limit"
        )
    return config.max_length
