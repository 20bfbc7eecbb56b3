"""A reward model in transformers: rows of token ids in, one raw logit each out, in padded batches.

Batches are padded on the right with the id that the model itself skips when it looks for the last token, so neither
batch size nor order nor the tokenizer's padding side changes a score by more than rounding (1e-4 in float32; in
bfloat16 batch composition can flip close calls).
"""

# The models of transformers are chosen at run time and have no static types.

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from judging.model_config import RewardModelConfig


class TransformersReward:
    """A reward model, loaded inside `with`, onto a GPU if there is one.

    Raises:
        ValueError: On opening, if the checkpoint lacks the reward head.
    """

    def __init__(self, config: RewardModelConfig) -> None:
        self._config = config

    def __enter__(self) -> Self:
        """Load the model."""
        import torch

        self._threads_before = torch.get_num_threads()
        self._model = load_model(self._config, "cuda" if torch.cuda.is_available() else "cpu").eval()
        self._own_pad = self._model.config.get_text_config().pad_token_id
        torch.set_num_threads(self._config.threads)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the model's memory."""
        import torch

        del self._model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        torch.set_num_threads(self._threads_before)

    def logits(self, rows: Sequence[list[int]]) -> Iterator[tuple[int, float]]:
        """Yield the index and the logit of each row; rows of like length should stand together."""
        for start in range(0, len(rows), self._config.batch_size):
            yield from enumerate(self._forward(rows[start : start + self._config.batch_size]), start)

    def _forward(self, batch: Sequence[Sequence[int]]) -> list[float]:
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


def load_model(config: RewardModelConfig, device: str) -> Any:
    """Load a reward model; on the device `meta` only the names of its weights are read.

    Raises:
        ValueError: Weights are missing.
    """
    from transformers import AutoModelForSequenceClassification

    model, loading = AutoModelForSequenceClassification.from_pretrained(
        config.model,
        revision=config.revision,
        trust_remote_code=config.trust_remote_code,
        dtype=config.dtype,
        use_safetensors=True,  # never a pickle, which could run code
        output_loading_info=True,
        device_map=device,
    )
    if loading["missing_keys"]:
        raise ValueError(
            f"model {config.model!r} lacks weights ({', '.join(sorted(loading['missing_keys'])[:3])}), they would be "
            "random: use a trained reward model"
        )
    return model
