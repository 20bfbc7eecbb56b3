"""Callbacks of the training loop: hand each step's metrics on, stop a loss that explodes, ask for checkpoints."""

import math
from collections.abc import Callable
from typing import Any  # transformers is untyped

from transformers import TrainerCallback

from training.checkpoints import steps_between
from training.job import Progress


class StepLog(TrainerCallback):
    """Hands every step's metrics on, and stops where the loss of a step is far above where it began.

    Attributes:
        highest_loss: What the loss of a step may come to; set once the loss before the first step is known.
    """

    def __init__(self, log_step: Progress, diverged: Callable[[str, int], ValueError]) -> None:
        self.highest_loss = math.inf
        self._log_step = log_step
        self._diverged = diverged

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Say at which step a killed training goes on."""
        if state.global_step:
            self._log_step(state.global_step, state.max_steps, {})

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Look at what transformers logs after each step."""
        if "grad_norm" not in logs:  # the summary of the whole run, at its end
            return
        if logs["loss"] > self.highest_loss:
            what = f"the loss is {logs['loss']:.4g}, above {self.highest_loss:.4g} (training.explode_factor)"
            raise self._diverged(what, state.global_step)
        metrics = {name: float(value) for name, value in logs.items() if name != "epoch"}
        self._log_step(state.global_step, state.max_steps, metrics)


class CheckpointSteps(TrainerCallback):
    """Asks for a checkpoint every so many steps, but not after the last: then the result itself is written."""

    def __init__(self, checkpoint_steps: int | None) -> None:
        self._checkpoint_steps = checkpoint_steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Ask, where it is time; the trainer writes it after the step's metrics are logged."""
        every = steps_between(self._checkpoint_steps, state.max_steps)
        if state.global_step % every == 0 and state.global_step < state.max_steps:
            control.should_save = True
