"""How fast a training is, and how much memory it has taken: a callback that adds to each step's metrics.

`tokens_per_s` counts as TRL does, a prompt for either side of each of its pairs. `distinct_tokens_per_s` counts each
prompt and each answer of a step once: what there is to compute, however it is computed. Seconds are those of the step
itself, without evaluations and checkpoints.
"""

import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any  # transformers is untyped

import torch
from transformers import TrainerCallback

from training.processes.distributed import n_processes
from training.rows.examples import Example

_GIB = 1 << 30
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in getrusage's unit


class StepTokens:
    """Counts the tokens of pairs as TRL does, and once each."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def as_trl(self, rows: Sequence[int]) -> int:
        """Count a pair's prompt twice and its answers."""
        return sum(
            2 * len(one.prompt_ids) + len(one.chosen.token_ids) + len(one.rejected.token_ids)
            for one in (self._examples[row] for row in rows)
        )

    def distinct(self, rows: Sequence[int]) -> int:
        """Count each prompt once, and each answer to it."""
        examples = [self._examples[row] for row in rows]
        prompts = {one.prompt: len(one.prompt_ids) for one in examples}
        answers = {
            (one.prompt, *side.token_ids): len(side.token_ids)
            for one in examples
            for side in (one.chosen, one.rejected)
        }
        return sum(prompts.values()) + sum(answers.values())


class StepSpeed(TrainerCallback):
    """Adds tokens a second and the peak of memory to what is logged; stands before the callback that hands it on."""

    def __init__(self, tokens: StepTokens, rows_of_step: Callable[[], list[int]]) -> None:
        self._tokens = tokens
        self._rows_of_step = rows_of_step
        self._began = self._ended = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Start the clock."""
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Stop the clock."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._ended = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Add to a step's metrics; the processes of a training have as many tokens each, up to chance."""
        if "grad_norm" not in logs:
            return
        rows = [row for row in self._rows_of_step() if row >= 0]  # one below stands for no pair
        share = n_processes() / (self._ended - self._began)
        logs["tokens_per_s"] = self._tokens.as_trl(rows) * share
        logs["distinct_tokens_per_s"] = self._tokens.distinct(rows) * share
        logs["peak_memory_gib"] = peak_memory_gib()


def peak_memory_gib() -> float:
    """Give the most memory that this process has held at once: of the GPU if there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / _GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT / _GIB
