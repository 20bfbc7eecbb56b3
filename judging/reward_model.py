"""A sequence-classification reward model as a judge: its raw logit for a prompt and an answer, run by transformers.

The score of an item is that of the item alone and unpadded: batches are padded on the right with the id that the model
itself skips when it looks for the last token, so neither batch size nor order nor the tokenizer's padding side changes
a score by more than rounding (1e-4 in float32; in bfloat16 batch composition can flip close calls).
"""

# The models and tokenizers of transformers are chosen at run time and have no static types.

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Generic, Self

from judging.config import RewardModelConfig
from judging.judge import Item, Tag, Verdict

log = logging.getLogger(__name__)

_WINDOW = 4096  # items tokenised and sorted by length together; more saves padding, fewer gives results sooner
_NO_LIMIT = 1_000_000  # tokenizers without a limit state one of about 1e30


@dataclass(frozen=True, slots=True)
class _Row(Generic[Tag]):
    tag: Tag
    ids: list[int]


class RewardModel:
    """Scores by a reward model while it is open.

    Raises:
        ValueError: On opening, if the model does not have exactly one trained output, if it has no chat template or if
            `max_length` is above the model's own limit.
    """

    def __init__(self, config: RewardModelConfig) -> None:
        self._config = config

    def __enter__(self) -> Self:
        """Load model and tokenizer, onto a GPU if there is one."""
        import torch

        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(self._config.threads)
        self._tokenizer = _load_tokenizer(self._config)
        self._model = _load_model(self._config).to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self._own_pad = self._model.config.get_text_config().pad_token_id
        self._max_length = _find_max_length(self._config, self._model, self._tokenizer)
        log.info("opened reward model %s on %s", self._config.model, self._model.device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the model's memory."""
        import torch

        del self._model, self._tokenizer
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        torch.set_num_threads(self._threads_before)

    def score(self, tagged: Iterable[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Verdict]]:
        """Yield the logit of each item, window by window, longest rows of a window first.

        Verdicts without a score have the reason `too_long`, `not_finite`, `special_token` (the answer spells one, which
        would let it end its turn and write the next one itself) or `chat_template` (the template refuses the messages,
        such as one without a system role).
        """
        source = iter(tagged)
        while window := list(islice(source, _WINDOW)):
            yield from self._score_window(window)

    def _score_window(self, window: Sequence[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Verdict]]:
        rows: list[_Row[Tag]] = []
        for tag, ids_or_reason in self._tokenize(window):
            if isinstance(ids_or_reason, str):
                yield tag, Verdict(score=None, reason=ids_or_reason)
            elif self._max_length is not None and len(ids_or_reason) > self._max_length:
                yield tag, Verdict(score=None, reason="too_long", n_tokens_in=len(ids_or_reason))
            else:
                rows.append(_Row(tag, ids_or_reason))
        rows.sort(key=lambda row: -len(row.ids))  # too little memory shows at the first batch
        for start in range(0, len(rows), self._config.batch_size):
            batch = rows[start : start + self._config.batch_size]
            for row, logit in zip(batch, self._forward([row.ids for row in batch]), strict=True):
                if math.isfinite(logit):
                    yield row.tag, Verdict(score=logit, n_tokens_in=len(row.ids))
                else:
                    yield row.tag, Verdict(score=None, reason="not_finite", n_tokens_in=len(row.ids))

    def _tokenize(self, window: Sequence[tuple[Tag, Item]]) -> Iterator[tuple[Tag, list[int] | str]]:
        """Yield each row's token ids, or the reason for having none."""
        rendered: list[tuple[Tag, str]] = []
        for tag, item in window:
            text = self._render(item)
            if text is None:
                yield tag, "chat_template"
            elif any(token in item.text for token in self._tokenizer.all_special_tokens):
                yield tag, "special_token"
            else:
                rendered.append((tag, text))
        if rendered:
            # The template has written the special tokens; the tokenizer would add a second BOS.
            ids = self._tokenizer([text for _, text in rendered], add_special_tokens=False)["input_ids"]
            yield from zip((tag for tag, _ in rendered), ids, strict=True)

    def _render(self, item: Item) -> str | None:
        """Write the conversation as the model was trained to read it; None if the template refuses it."""
        from jinja2 import TemplateError

        try:
            return self._tokenizer.apply_chat_template(
                [*item.messages, {"role": "assistant", "content": item.text}], tokenize=False
            )
        except TemplateError:
            return None

    def _forward(self, batch: Sequence[Sequence[int]]) -> list[float]:
        """Run one batch: rows of token ids in, one logit each out."""
        import torch

        lengths = torch.tensor([len(ids) for ids in batch])
        width = int(lengths.max())
        pad = self._choose_pad(batch)
        input_ids = torch.tensor([[*ids, *[pad] * (width - len(ids))] for ids in batch])
        mask = (torch.arange(width) < lengths[:, None]).long()
        device = self._model.device
        with torch.inference_mode():
            logits = self._model(input_ids=input_ids.to(device), attention_mask=mask.to(device)).logits
        return logits[:, 0].float().tolist()

    def _choose_pad(self, batch: Sequence[Sequence[int]]) -> int:
        """Give the id to pad with: the model's own, else any one that ends no row.

        transformers reads the logit at the last token that differs from the model's pad id. A model whose pad id is
        its EOS was trained to be read one token earlier, and is; a model without one is read at the very last token.
        """
        config = self._model.config.get_text_config()
        if self._own_pad is None:
            last = {ids[-1] for ids in batch}
            config.pad_token_id = next(token for token in range(config.vocab_size) if token not in last)
        return config.pad_token_id


def _load_tokenizer(config: RewardModelConfig) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        config.model, revision=config.revision, trust_remote_code=config.trust_remote_code
    )
    if tokenizer.chat_template is None:
        raise ValueError(
            f"model {config.model!r} has a tokenizer without a chat template, so prompt and answer cannot be laid out "
            "as it was trained on: use a reward model that ships one"
        )
    return tokenizer


def _load_model(config: RewardModelConfig) -> Any:
    from transformers import AutoModelForSequenceClassification

    model, loading = AutoModelForSequenceClassification.from_pretrained(
        config.model,
        revision=config.revision,
        trust_remote_code=config.trust_remote_code,
        dtype=config.dtype,
        use_safetensors=True,  # never a pickle, which could run code
        output_loading_info=True,
    )
    if model.config.num_labels != 1:
        raise ValueError(
            f"model {config.model!r} has {model.config.num_labels} outputs, a reward model has one: a language model "
            "without a reward head, or a classifier, cannot score answers"
        )
    if loading["missing_keys"]:
        raise ValueError(
            f"model {config.model!r} lacks weights ({', '.join(sorted(loading['missing_keys'])[:3])}), they would be "
            "random: use a trained reward model"
        )
    return model


def _find_max_length(config: RewardModelConfig, model: Any, tokenizer: Any) -> int | None:
    """Give the most tokens of a row; None where neither model nor tokenizer states a limit."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if config.max_length is None:
        stated = [limit for limit in (positions, tokenizer.model_max_length) if limit and limit < _NO_LIMIT]
        return min(stated, default=None)
    if positions is not None and config.max_length > positions:
        raise ValueError(
            f"max_length {config.max_length} is above the {positions} positions of model {config.model!r}: "
            "lower it, or leave it out to take the model's limit"
        )
    return config.max_length
