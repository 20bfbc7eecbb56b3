"""Every step's metrics handed on; a training that has diverged is stopped, its pairs named."""

from collections.abc import Callable
from typing import Any  # transformers is untyped

import numpy as np
from transformers import TrainerCallback

from training.job import Progress


class StepLog(TrainerCallback):
    """Hands every step's metrics on, and stops where a gradient is not a number."""

    def __init__(self, log_step: Progress, names_of_step: Callable[[], list[str]]) -> None:
        self._log_step = log_step
        self._names_of_step = names_of_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Look at what transformers logs after each step."""
        if "grad_norm" not in logs:  # the summary of the whole run, at its end
            return
        if not np.isfinite(logs["grad_norm"]):
            raise diverged(f"the gradient is {logs['grad_norm']}", state.global_step, self._names_of_step())
        metrics = {name: float(value) for name, value in logs.items() if name != "epoch"}
        self._log_step(state.global_step, state.max_steps, metrics)


def diverged(what: str, step: int, pair_ids: list[str]) -> ValueError:
    """Give the error of a training that went wrong at a step, on some pairs."""
    return ValueError(
        f"training diverged: {what} at step {step}, on the pairs {', '.join(pair_ids)}; lower training.learning_rate"
    )
