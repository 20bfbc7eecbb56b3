"""The reward that a preference-trained policy stands for, as a judge (DICE, arXiv 2406.09760)."""

from collections.abc import Sequence
from typing import Protocol

from judging.judge import Item
from judging.model_config import CheckpointConfig


class SumLogprobs(Protocol):
    """Gives the log-probs of answers under a checkpoint, in nats, summed over the answer's tokens, stop token included.

    The answer's own token ids are taken where they are of the checkpoint's tokenizer; else its text is tokenised. None
    where the prompt and answer can't be rendered or are too long.
    """

    def __call__(
        self, checkpoint: CheckpointConfig, items: Sequence[Item], batch_size: int
    ) -> list[float | None]: ...  # noqa: D102
