"""What supervised fine-tuning and reward modelling take and give in common."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from training.fits.fit_config import FitConfig
from training.order import Order, number_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class FitResult:
    """What a fit gave beside the model in its folder.

    Attributes:
        metrics: METRICS table: the check before the first step as step 0, then every logged value of each step, and
            those of held-out rows under `heldout/`.
        drops: Rows that can't be trained on, with the DROPS schema.
        counts: `rows_in` = `rows_trained` + `rows_held_out` + `rows_dropped`, and what else was counted.
        held_out: What was measured on held-out rows, at the start and the end; empty without held-out rows.
        seconds: Wall time.
        tokens: Tokens that were read, over all epochs; after a kill those of all tries.
        rewards: Of a reward model: HELD_OUT_REWARDS of the trained model; None elsewhere.
    """

    metrics: pa.Table
    drops: pa.Table
    counts: dict[str, int]
    held_out: dict[str, dict[str, float]]
    seconds: float
    tokens: int
    rewards: pa.Table | None = None


def check_chat_template(model: str, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Check that conversations can be rendered.

    Raises:
        ValueError: The tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise ValueError(
            f"{model} has no chat template, so nobody knows how it is to read conversations: take an instruction-tuned "
            "model, or put a chat_template.jinja into its folder"
        )


def find_longest(config: FitConfig, limit: int | None) -> int | None:
    """Give the most tokens of a row: the config's, else the model's; None where neither has a limit.

    Raises:
        ValueError: The config's is above the model's.
    """
    if config.max_length is not None and limit is not None and config.max_length > limit:
        raise ValueError(
            f"max_length is {config.max_length}, but the model takes {limit} tokens: lower it, or leave it out to take "
            "the model's limit"
        )
    return limit if config.max_length is None else config.max_length


def make_order(config: FitConfig, seed: int, prompts: list[str], lengths: list[int]) -> Order:
    """Say in which order rows are trained on.

    Args:
        config: The steps.
        seed: Of the shuffling.
        prompts: Prompt id of each row.
        lengths: Tokens of each row.
    """
    return Order(config.batches, seed, number_prompts(prompts), np.array(lengths), config.batch_size)


def count_rows(rows_in: int, dropped: int, held_out: np.ndarray) -> dict[str, int]:
    """Count what became of the rows."""
    n_out = int(held_out.sum())
    return {
        "rows_in": rows_in,
        "rows_trained": len(held_out) - n_out,
        "rows_held_out": n_out,
        "rows_dropped": dropped,
    }
