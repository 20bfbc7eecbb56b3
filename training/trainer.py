"""TRL's DPOTrainer on given token ids and given reference log-probs, with the losses of `training.losses`.

TRL tokenises texts itself and computes its reference itself; both are overridden here, as private methods, which is
why TRL's version is pinned exactly. Its shuffling and its weighting of uneven micro-batches are replaced as well, so
that neither changes with memory settings. TRL's own loss is trained on where it is right and all pairs weigh the same;
else the formula takes its place, on the same log-probs.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any  # TRL and transformers are untyped

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from training.losses.loss import Moment
from training.losses.pairs import Pairs, Side
from training.objective import Objective
from training.order import Order
from training.pair_dataset import PairCollator
from training.step_log import diverged


class PairTrainer(DPOTrainer):
    """Trains on a `pair_dataset`; stops where a loss is not a number."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        dataset: Dataset,
        arguments: DPOConfig,
        objective: Objective,
        order: Order,
        callbacks: list[TrainerCallback],
    ) -> None:
        self._policy = model
        self._objective = objective
        self._order = order
        self._pair_ids: list[str] = dataset["pair_id"][:]
        self._weights = torch.tensor(dataset["weight"][:], dtype=torch.float64)
        self._rows_in_step: list[int] = []
        self._shares: list[float] = []
        initial = objective.loss.initial
        self.loss_state = dict(initial(objective.config)) if initial else {}
        super().__init__(
            model=model,
            args=arguments,
            data_collator=PairCollator(pad_token_id=tokenizer.pad_token_id),
            train_dataset=dataset,
            processing_class=tokenizer,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)  # transformers adds it where its progress bar is off
        if isinstance(model, PeftModel):
            model.delete_adapter("ref")  # TRL's copy to compute a reference with; ours is in the columns

    def names_of_step(self) -> list[str]:
        """Name the pairs of the optimiser step that is under way."""
        return [self._pair_ids[row] for row in self._rows_in_step]

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:  # noqa: ARG002
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:  # noqa: ARG002
        return dataset

    def _send_telemetry(self) -> None:
        """Send nothing to anyone."""

    def _get_train_sampler(self, train_dataset: Any = None) -> "_EpochOrder":  # noqa: ARG002
        return _EpochOrder(self._order)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Remember which rows the next optimiser step is made of."""
        batches, n_items = super().get_batch_samples(*args, **kwargs)
        self._rows_in_step = [row for batch in batches for row in batch["extras"]["row"].tolist()]
        return batches, n_items

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        """Compute the mean loss of a micro-batch; in training, weighted by its share of the step's weight."""
        extras = inputs.pop("extras")
        rows = extras["row"].cpu()
        recorder: Any = _Recorder(model)
        loss = super()._compute_loss(recorder, inputs, return_outputs)
        pairs = self._pairs(model, recorder.outputs, inputs["completion_mask"], extras)
        weights, objective = extras["weight"], self._objective
        moment = Moment(self.loss_state, self.args.seed, self.state.global_step)
        if objective.loss.trl is None or bool((weights != 1).any()):
            losses = objective.loss.formula(pairs, objective.config, moment)
            loss = (losses * weights).sum() / weights.sum()
        self._replace_rewards(pairs)
        if not torch.isfinite(loss):
            names = [self._pair_ids[row] for row in rows.tolist()]
            raise diverged(f"the loss is {loss.item()}", self.state.global_step + 1, names)
        if not self._policy.training:
            return loss
        if objective.loss.move is not None:
            self.loss_state = dict(objective.loss.move(_without_gradient(pairs), objective.config, moment))
        share = float(self._weights[rows].sum() / self._weights[self._rows_in_step].sum())
        self._shares.append(share)
        # The base class divides by the number of micro-batches; the last one of an epoch may be a small one.
        return loss * (share * self.current_gradient_accumulation_steps)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Average each metric over the micro-batches of a step, by their share of it."""
        if self._policy.training and self._shares:
            total = sum(self._shares)
            for values in self._metrics["train"].values():
                if len(values) == len(self._shares):
                    values[:] = [sum(v * s for v, s in zip(values, self._shares, strict=True)) / total]
            self._shares.clear()
        super().log(logs, start_time)

    def evaluate_rows(self, rows: list[int]) -> dict[str, float]:
        """Compute the loss and the mean margin of some rows as in training, in eval mode, without training."""
        self._policy.eval()
        total = {"loss": 0.0, "rewards/margins": 0.0}
        size, weight = self.args.per_device_train_batch_size, float(self._weights[rows].sum())
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            inputs = self._prepare_inputs(self.data_collator([self.train_dataset[row] for row in part]))
            with torch.no_grad(), self.accelerator.autocast():
                loss = self.compute_loss(self._policy, inputs)
            total["loss"] += loss.item() * float(self._weights[part].sum()) / weight
            total["rewards/margins"] += self._metrics["eval"]["rewards/margins"][-1] * len(part) / len(rows)
        self._metrics["eval"].clear()
        return total

    def _pairs(self, model: Any, outputs: Any, completion_mask: torch.Tensor, extras: dict[str, torch.Tensor]) -> Pairs:
        """Give the loss what it asks for."""
        mask = completion_mask[:, 1:].bool()
        width = mask.shape[1]  # prompt tuning puts virtual tokens before the real ones

        def side(name: str, half: int) -> Side:
            stats = outputs.log_sum_sq_probs
            return Side(
                tokens=outputs.log_probs[:, -width:].chunk(2)[half],
                mask=mask.chunk(2)[half],
                ref=extras[f"ref_{name}_logps"],
                ref_shared=extras.get(f"ref_{name}_shared"),
                sum_sq=None if stats is None else stats[:, -width:].chunk(2)[half],
            )

        columns = {name.removeprefix("column_"): value for name, value in extras.items() if name.startswith("column_")}
        mismatched = self._mismatched(model, extras) if self._objective.loss.mismatched else None
        return Pairs(side("chosen", 0), side("rejected", 1), columns, mismatched)

    def _mismatched(self, model: Any, extras: dict[str, torch.Tensor]) -> torch.Tensor:
        """Compute h of each pair's answer to another prompt."""
        ids, mask = extras["mismatched_input_ids"], extras["mismatched_completion_mask"]
        with torch.no_grad():
            outputs = model(
                input_ids=ids, attention_mask=extras["mismatched_attention_mask"], use_cache=False,
                labels=ids.masked_fill(mask == 0, -100), fused_lm_head=True,
            )  # fmt: skip
        return outputs.log_probs.sum(dim=1) - extras["ref_mismatched"]

    def _replace_rewards(self, pairs: Pairs) -> None:
        """Put the loss's own rewards in place of those that TRL logged last."""
        rewards, config = self._objective.loss.rewards, self._objective.config
        metrics = self._metrics["train" if self._policy.training else "eval"]
        if rewards is None:
            return
        with torch.no_grad():
            chosen, rejected = rewards(pairs.chosen, config), rewards(pairs.rejected, config)
        metrics["rewards/chosen"][-1] = chosen.mean().item()
        metrics["rewards/rejected"][-1] = rejected.mean().item()
        metrics["rewards/margins"][-1] = (chosen - rejected).mean().item()
        metrics["rewards/accuracies"][-1] = (chosen > rejected).double().mean().item()


def _without_gradient(pairs: Pairs) -> Pairs:
    chosen, rejected = (replace(side, tokens=side.tokens.detach()) for side in (pairs.chosen, pairs.rejected))
    return replace(pairs, chosen=chosen, rejected=rejected)


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


class _Recorder:
    """A model that keeps the outputs of its last call, which TRL's loss throws away."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.outputs: Any = None

    def __call__(self, **inputs: Any) -> Any:
        self.outputs = self._model(**inputs)
        return self.outputs
