"""What TRL's SFTTrainer and RewardTrainer are both changed in: order and names of rows, averages, checkpoints."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any  # transformers is untyped

import torch
from peft import PeftModel
from transformers import PrinterCallback, Trainer, TrainerCallback

from training.checkpoints import Checkpoints, Memory
from training.job import Progress
from training.order import Order


class OrderedTrainer(Trainer):
    """Goes before one of TRL's trainers among the bases; trains on rows in the order of an `Order`.

    A batch of its collator has `row`, the row numbers, which `compute_loss` is to take out.

    Attributes:
        checkpoints: Of this training.
        rows_in_step: Rows of the optimiser step that is under way.
        shares: Share of the step that each of its micro-batches so far was.
    """

    model: Any
    _metrics: dict[str, dict[str, list[float]]]  # TRL's
    _total_train_tokens: int  # TRL's

    def __init__(self, order: Order, row_names: list[str], args: Any, **others: Any) -> None:
        self._order = order
        self._row_names = row_names
        self.rows_in_step: list[int] = []
        self.shares: list[float] = []
        tokens = Memory(lambda: self._total_train_tokens, lambda count: setattr(self, "_total_train_tokens", count))
        self.checkpoints = Checkpoints(Path(args.output_dir), {"tokens": tokens})
        # One process uses one GPU; transformers would wrap the model in DataParallel, which TRL refuses.
        args._n_gpu = min(args.n_gpu, 1)
        super().__init__(args=args, **others)
        self.remove_callback(PrinterCallback)  # transformers adds it where its progress bar is off

    def check_loss(self, loss: torch.Tensor, rows: list[int]) -> None:
        """Stop where the loss of some rows is not a number.

        Raises:
            ValueError: It is not; names the rows.
        """
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss is {loss.item()}", rows)

    def _diverged(self, what: str, rows: list[int]) -> ValueError:
        last = self.checkpoints.newest()
        kept = f"the last checkpoint is of step {last.step}" if last else "there is no checkpoint yet"
        return ValueError(
            f"training diverged: {what} at step {self.state.global_step + 1}, on the rows "
            f"{', '.join(self._row_names[row] for row in rows)}; {kept}. Look at these rows, lower learning_rate or "
            "raise warmup_share"
        )

    def _send_telemetry(self) -> None:
        """Send nothing to anyone."""

    def _get_train_sampler(self, train_dataset: Any = None) -> "_EpochOrder":  # noqa: ARG002
        return _EpochOrder(self._order)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Remember which rows the next optimiser step is made of."""
        batches, n_items = super().get_batch_samples(*args, **kwargs)
        self.rows_in_step = [row for batch in batches for row in batch["row"].tolist()]
        return batches, n_items

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Average each of TRL's metrics over the micro-batches of a step, by their share of it."""
        if self.shares:
            total = sum(self.shares)
            for values in self._metrics["train"].values():
                if len(values) == len(self.shares):
                    values[:] = [sum(v * s for v, s in zip(values, self.shares, strict=True)) / total]
            self.shares.clear()
        super().log(logs, start_time)

    def _get_grad_norm(self, *args: Any, **kwargs: Any) -> Any:
        """Stop before the optimiser spoils the weights with a gradient that is not a number."""
        norm: Any = super()._get_grad_norm(*args, **kwargs)
        if not math.isfinite(norm):
            raise self._diverged(f"the gradient is {float(norm)}", self.rows_in_step)
        return norm

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint that is whole or does not count."""
        with self.checkpoints.writing(self.state.global_step):
            super()._save_checkpoint(model, trial)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write weights or adapter, without a tokenizer, pickled arguments, or a question to the Hub by peft."""
        model: Any = self.accelerator.unwrap_model(self.model)
        options: Any = {"save_embedding_layers": False} if isinstance(self.model, PeftModel) else {}
        model.save_pretrained(output_dir, state_dict=state_dict, **options)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write no card into checkpoints."""


class FitLog(TrainerCallback):
    """Hands every step's metrics on."""

    def __init__(self, log_step: Progress) -> None:
        self._log_step = log_step

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Say at which step a killed training goes on."""
        if state.global_step:
            self._log_step(state.global_step, state.max_steps, {})

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Take what transformers logs after each step."""
        if "grad_norm" in logs:  # else the summary of the whole run, at its end
            metrics = {name: float(value) for name, value in logs.items() if name != "epoch"}
            self._log_step(state.global_step, state.max_steps, metrics)


class _EpochOrder(torch.utils.data.Sampler[int]):
    """An `Order` as a sampler; the training loop calls `set_epoch`."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self._order.rows

    def __iter__(self) -> Iterator[int]:
        yield from self._order.of_epoch(self._epoch).tolist()
