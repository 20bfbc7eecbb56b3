"""Sharing prompts in a training where that is possible, and saying so where it is not."""

import logging
from typing import TYPE_CHECKING, Any  # Any: models of untyped libraries

from training.config import TrainingConfig
from training.prefix.support import why_not_shared
from training.rows.examples import Example

if TYPE_CHECKING:
    from training.trainer import PairTrainer

_log = logging.getLogger(__name__)


def share_prompts(trainer: "PairTrainer", model: Any, config: TrainingConfig, examples: list[Example]) -> str | None:
    """Have a trainer compute each prompt of a batch once, where the recipe wants it and the model allows it.

    Args:
        trainer: Before its first batch.
        model: What it trains.
        config: The recipe's part.
        examples: All pairs that it will see.

    Returns:
        Why prompts are not shared, as a sentence; None where they are.
    """
    if not config.prefix_sharing:
        return "training.prefix_sharing is off"
    reason = why_not_shared(model, longest_row(examples), config.dtype)
    if reason is None:
        trainer.share_prompts()
        return None
    _log.warning(
        "training: prompts are not shared: %s. Training goes on as TRL does it, which takes about twice as long; "
        "`batches: by_length` then saves some of the padding",
        reason,
    )
    return reason


def longest_row(examples: list[Example]) -> int:
    """Count the tokens of the longest prompt with one of its answers."""
    return max(
        len(example.prompt_ids) + max(len(answer) for answer in answers)
        for example in examples
        for answers in [(example.chosen.token_ids, example.rejected.token_ids, example.mismatched)]
    )
