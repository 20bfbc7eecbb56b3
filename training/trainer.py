"""TRL's DPOTrainer on given token ids and given reference log-probs. The one file that imports TRL.

TRL tokenises texts itself and computes its reference itself; both are overridden here, as private methods, which is
why TRL's version is pinned exactly. Its shuffling and its weighting of uneven micro-batches are replaced as well, so
that neither changes with memory settings.
"""

from collections.abc import Callable, Iterator
from typing import Any  # TRL and transformers are untyped

import numpy as np
import torch
from datasets import Dataset, Features, List, Value
from peft import PeftModel
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

from training.config import TrainingConfig
from training.examples import Example
from training.job import Progress
from training.objective import Objective, PairValues
from training.order import epoch_order

_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
_FEATURES = Features(
    pair_id=Value("string"),
    prompt_ids=List(Value("int32")), chosen_ids=List(Value("int32")), rejected_ids=List(Value("int32")),
    ref_chosen_logps=Value("float64"), ref_rejected_logps=Value("float64"), row=Value("int64"),
)  # fmt: skip


def trainer_arguments(config: TrainingConfig, objective: Objective, seed: int, output: str) -> DPOConfig:
    """Say to TRL what a recipe says; it reports and saves nothing itself."""
    micro = config.micro_batch_size or config.batch_size
    arguments = DPOConfig(
        output_dir=output,
        **objective.arguments,
        learning_rate=config.learning_rate,
        lr_scheduler_type=_SCHEDULES[config.lr_schedule],
        warmup_steps=config.warmup_share,  # below 1 it is a share of all steps
        num_train_epochs=config.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=config.batch_size // micro,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=config.dtype == "bfloat16",
        use_cpu=not torch.cuda.is_available(),  # bfloat16 is refused on a CPU that was not asked for
        activation_checkpointing=config.gradient_checkpointing,
        seed=seed,
        max_length=None,  # long pairs were dropped to the ledger; nothing is cut
        disable_dropout=False,  # load_policy did it for the model; TRL would take the adapter's as well
        precompute_ref_log_probs=True,  # has TRL read the columns, and load no second model
        remove_unused_columns=False,
        save_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    # With several GPUs in sight transformers would wrap the model in DataParallel and multiply the batch by their
    # number, and TRL refuses that. No argument says otherwise; one process uses one GPU, the first.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def preference_dataset(examples: list[Example], reference: PairValues) -> Dataset:
    """Put token ids and reference log-probs into the columns that TRL's loss reads."""
    columns = {
        "pair_id": [example.pair_id for example in examples],
        "prompt_ids": [example.prompt_ids for example in examples],
        "chosen_ids": [example.chosen.token_ids for example in examples],
        "rejected_ids": [example.rejected.token_ids for example in examples],
        "ref_chosen_logps": reference.chosen,
        "ref_rejected_logps": reference.rejected,
        "row": np.arange(len(examples)),
    }
    return Dataset.from_dict(columns, features=_FEATURES)


class PairTrainer(DPOTrainer):
    """Trains on a `preference_dataset`; stops where a loss or a gradient is not a number."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        dataset: Dataset,
        arguments: DPOConfig,
        objective: Objective,
        log_step: Progress,
    ) -> None:
        self._policy = model
        self._objective = objective
        self._pair_ids: list[str] = dataset["pair_id"][:]
        self._rows_in_step: list[int] = []
        super().__init__(
            model=model,
            args=arguments,
            data_collator=_RowCollator(pad_token_id=tokenizer.pad_token_id),
            train_dataset=dataset,
            processing_class=tokenizer,
            callbacks=[_StepLog(log_step, self._names_of_step)],
        )
        self.remove_callback(PrinterCallback)  # transformers adds it where its progress bar is off
        if isinstance(model, PeftModel):
            model.delete_adapter("ref")  # TRL's copy to compute a reference with; ours is in the columns

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:  # noqa: ARG002
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:  # noqa: ARG002
        return dataset

    def _send_telemetry(self) -> None:
        """Send nothing to anyone."""

    def _get_train_sampler(self, train_dataset: Any = None) -> "_SeededOrder":  # noqa: ARG002
        return _SeededOrder(len(self._pair_ids), self.args.seed)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Remember which rows the next optimiser step is made of."""
        batches, n_items = super().get_batch_samples(*args, **kwargs)
        self._rows_in_step = [row for batch in batches for row in batch["rows"].tolist()]
        return batches, n_items

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute the mean loss of a micro-batch, weighted by its share of the step's pairs."""
        rows = inputs.pop("rows")
        recorder: Any = _Recorder(model)
        loss = super().compute_loss(recorder, inputs, return_outputs, num_items_in_batch)
        if self._objective.rewards is not None:
            logprobs = recorder.log_probs.detach().sum(dim=1)
            rewards = self._objective.rewards(logprobs, inputs["completion_mask"].sum(dim=1))
            self._replace_rewards(*rewards.chunk(2))
        if not torch.isfinite(loss):
            raise ValueError(
                f"training diverged: the loss is {loss.item()} at step {self.state.global_step + 1}, on the pairs "
                f"{', '.join(self._pair_ids[row] for row in rows.tolist())}; lower training.learning_rate"
            )
        if not self._policy.training:
            return loss
        # The base class divides by the number of micro-batches; the last one of an epoch may be a small one.
        return loss * (len(rows) * self.current_gradient_accumulation_steps / len(self._rows_in_step))

    def evaluate_rows(self, rows: list[int]) -> dict[str, float]:
        """Compute the loss and the mean margin of some rows as TRL does, in eval mode, without training."""
        self._policy.eval()
        total = {"loss": 0.0, "rewards/margins": 0.0}
        size = self.args.per_device_train_batch_size
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            inputs = self._prepare_inputs(self.data_collator([self.train_dataset[row] for row in part]))
            with torch.no_grad(), self.accelerator.autocast():
                loss = self.compute_loss(self._policy, inputs)
            total["loss"] += loss.item() * len(part) / len(rows)
            total["rewards/margins"] += self._metrics["eval"]["rewards/margins"][-1] * len(part) / len(rows)
        self._metrics["eval"].clear()
        return total

    def _replace_rewards(self, chosen: torch.Tensor, rejected: torch.Tensor) -> None:
        """Put the objective's own rewards in place of those that TRL logged last."""
        metrics = self._metrics["train" if self._policy.training else "eval"]
        metrics["rewards/chosen"][-1] = chosen.mean().item()
        metrics["rewards/rejected"][-1] = rejected.mean().item()
        metrics["rewards/margins"][-1] = (chosen - rejected).mean().item()
        metrics["rewards/accuracies"][-1] = (chosen > rejected).float().mean().item()

    def _names_of_step(self) -> list[str]:
        return [self._pair_ids[row] for row in self._rows_in_step]


class _RowCollator(DataCollatorForPreference):
    """TRL's collator, and the row numbers."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super().torch_call(examples)
        batch["rows"] = torch.tensor([example["row"] for example in examples])
        return batch


class _SeededOrder(torch.utils.data.Sampler[int]):
    """`epoch_order` as a sampler; the training loop calls `set_epoch`."""

    def __init__(self, rows: int, seed: int) -> None:
        self._rows = rows
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[int]:
        yield from epoch_order(self._rows, self._seed, self._epoch).tolist()


class _Recorder:
    """A model that keeps the token log-probs of its last call, which TRL's loss throws away."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.log_probs = torch.empty(0)

    def __call__(self, **inputs: Any) -> Any:
        outputs = self._model(**inputs)
        self.log_probs = outputs.log_probs
        return outputs


class _StepLog(TrainerCallback):
    """Hands every step's metrics on, and stops where a gradient is not a number."""

    def __init__(self, log_step: Progress, names_of_step: Callable[[], list[str]]) -> None:
        self._log_step = log_step
        self._names_of_step = names_of_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        if "grad_norm" not in logs:  # the summary of the whole run, at its end
            return
        if not np.isfinite(logs["grad_norm"]):
            raise ValueError(
                f"training diverged: the gradient is {logs['grad_norm']} at step {state.global_step}, on the pairs "
                f"{', '.join(self._names_of_step())}; lower training.learning_rate"
            )
        metrics = {name: float(value) for name, value in logs.items() if name != "epoch"}
        self._log_step(state.global_step, state.max_steps, metrics)
