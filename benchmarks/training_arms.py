"""The trainers that `benchmarks/training.py` compares, each on the same pairs in the same batches.

- `trl`: DPOTrainer as it comes, the reference pass inside each step; gradient checkpointing off.
- `trl_precomputed`: DPOTrainer with the reference's log-probs in columns, its head on answers only. TRL does that by
  itself on a GPU; on a CPU one function of it is patched.
- `trl_sorted`: the same over pairs sorted by length. Its batches are others, so its losses are not compared.
- `ours`: the trainer of this package, prompts shared; the reference's log-probs in columns.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any  # models and trainers of untyped libraries

import numpy as np

ARMS = ("trl", "trl_precomputed", "trl_sorted", "ours")


@dataclass(frozen=True)
class Pairs:
    """Random pairs as token ids, in the order of training."""

    prompts: list[list[int]]
    chosen: list[list[int]]
    rejected: list[list[int]]

    @property
    def tokens(self) -> int:
        """Tokens as plain TRL counts them: the prompt once for each answer."""
        answers = zip(self.prompts, self.chosen, self.rejected, strict=True)
        return sum(2 * len(prompt) + len(chosen) + len(rejected) for prompt, chosen, rejected in answers)

    def take(self, rows: np.ndarray) -> "Pairs":
        """Give some rows in another order."""
        return Pairs(*([column[row] for row in rows] for column in (self.prompts, self.chosen, self.rejected)))


@dataclass(frozen=True)
class Setting:
    """What all arms have in common.

    Attributes:
        model: Folder of the start policy, which is the reference.
        tokenizer: Any tokenizer with pad and end tokens.
        pairs: In the order of training.
        reference: Log-prob sums of chosen and rejected answers under the reference.
        batch_size: Pairs a step.
        output: Folder for what trainers write.
        cuda: Whether to train on a GPU, in bfloat16.
    """

    model: str
    tokenizer: Any
    pairs: Pairs
    reference: tuple[np.ndarray, np.ndarray]
    batch_size: int
    output: str
    cuda: bool


@dataclass(frozen=True)
class Timing:
    """One training of an arm: processor and wall seconds, loss of each step, peak memory on a GPU."""

    cpu_s: float
    wall_s: float
    losses: list[float]
    peak_mib: float | None


def run_arm(arm: str, setting: Setting) -> Timing:
    """Train once from the start policy, and time all of it but loading."""
    import torch

    trainer: Any = _ours(setting) if arm == "ours" else _trl(arm, setting)
    if setting.cuda:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    with _scores_answers_only(arm in ("trl_precomputed", "trl_sorted")):
        cpu, wall = time.process_time(), time.perf_counter()
        trainer.train()
        if setting.cuda:
            torch.cuda.synchronize()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return Timing(cpu, wall, losses, torch.cuda.max_memory_allocated() / 2**20 if setting.cuda else None)


def _arguments(setting: Setting, precomputed: bool) -> Any:
    from training.arguments import trainer_arguments
    from training.config import TrainingConfig

    config = TrainingConfig(
        learning_rate=1e-4, lr_schedule="constant", warmup_share=0.0, batch_size=setting.batch_size,
        dtype="bfloat16" if setting.cuda else "float32",
    )  # fmt: skip
    arguments = trainer_arguments(config, {"loss_type": ["sigmoid"], "beta": 0.1}, 0, setting.output)
    arguments.precompute_ref_log_probs = precomputed
    return arguments


def _model(setting: Setting) -> Any:
    from training.policies.policy import load_policy

    return load_policy(setting.model)


def _trl(arm: str, setting: Setting) -> Any:
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import PrinterCallback
    from trl.trainer.dpo_trainer import DPOTrainer

    class TokenIds(DPOTrainer):
        """Plain TRL on given token ids and given reference log-probs, neither of which it takes by itself."""

        def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:  # noqa: ARG002
            return dataset

        def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:  # noqa: ARG002
            return dataset

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)

    pairs, reference = setting.pairs, setting.reference
    if arm == "trl_sorted":
        by_length = np.argsort([-len(p) - max(len(c), len(r)) for p, c, r in _rows(pairs)], kind="stable")
        pairs, reference = pairs.take(by_length), (reference[0][by_length], reference[1][by_length])
    columns = {"prompt_ids": pairs.prompts, "chosen_ids": pairs.chosen, "rejected_ids": pairs.rejected}
    if arm != "trl":
        columns |= {"ref_chosen_logps": reference[0], "ref_rejected_logps": reference[1]}
    trainer = TokenIds(
        _model(setting), args=_arguments(setting, arm != "trl"), train_dataset=Dataset.from_dict(columns),
        processing_class=setting.tokenizer,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer


def _ours(setting: Setting) -> Any:
    from training.losses.catalogue import LOSSES
    from training.losses.logistic import DpoConfig
    from training.objective import Objective
    from training.order import Order
    from training.pair_dataset import ReferenceValues, pair_dataset
    from training.prefix.support import why_not_shared
    from training.rows.examples import Answer, Example
    from training.rows.pair_values import PairValues
    from training.trainer import PairTrainer

    class Given(Order):
        """The order that the pairs are in."""

        def of_epoch(self, epoch: int) -> np.ndarray:  # noqa: ARG002
            return np.arange(self.rows)

    def answer(ids: list[int]) -> Answer:
        return Answer(ids, False, None, None)

    examples = [
        Example(str(row), str(row), prompt, answer(chosen), answer(rejected))
        for row, (prompt, chosen, rejected) in enumerate(_rows(setting.pairs))
    ]
    rows = np.arange(len(examples))
    order = Given("shuffled", 0, rows, rows, setting.batch_size)
    dataset = pair_dataset(examples, ReferenceValues(PairValues(*setting.reference)), ())
    objective, model = Objective(LOSSES["dpo"], DpoConfig(name="dpo")), _model(setting)
    arguments = _arguments(setting, True)
    trainer = PairTrainer(model, setting.tokenizer, dataset, arguments, objective, order, [])
    longest = max(len(p) + max(len(c), len(r)) for p, c, r in _rows(setting.pairs))
    reason = why_not_shared(model, longest, "bfloat16" if setting.cuda else "float32")
    if reason:
        raise SystemExit(f"prompts are not shared: {reason}")
    trainer.share_prompts()
    return trainer


def _rows(pairs: Pairs) -> Iterator[tuple[list[int], list[int], list[int]]]:
    return zip(pairs.prompts, pairs.chosen, pairs.rejected, strict=True)


@contextmanager
def _scores_answers_only(patched: bool) -> Iterator[None]:
    """Have TRL's head score labelled positions only, as it does on a GPU with Triton."""
    import trl.trainer.utils

    utils: Any = trl.trainer.utils
    before = utils._use_triton
    if patched:
        utils._use_triton = lambda device: True  # noqa: ARG005
    try:
        yield
    finally:
        utils._use_triton = before
