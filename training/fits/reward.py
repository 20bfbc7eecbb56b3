"""A reward model from pairs: Bradley-Terry by TRL, the first step of Iterative DPO (arXiv 2312.11456, 2405.07863).

What is written is a sequence classifier with one output, which the judge `reward_model` loads.
"""

import copy
import logging
import time
from collections import Counter
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any  # Any: models of untyped libraries

import numpy as np
import pyarrow as pa

from training.checkpoints import FOLDER, Memory
from training.fits.fit_job import FitResult, check_chat_template, count_rows, find_longest, make_order
from training.fits.reward_config import RewardTrainingConfig
from training.fits.reward_examples import RenderAnswers, RewardExample, RewardExamples, build_reward_examples
from training.fits.reward_loss import bradley_terry
from training.fits.reward_model import (
    Padding,
    choose_padding,
    find_limit,
    load_reward_model,
    put_reward_adapter,
    read_reward_config,
)
from training.job import Progress
from training.policies.policy import Policy, load_tokenizer, write_policy
from training.rows.holdout import take_train_split
from training.schema import HELD_OUT_REWARDS, METRICS
from training.step0 import check_loss

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RewardJob:
    """One training of a reward model.

    Attributes:
        pairs: PAIRS table.
        start: A language model, which gets a fresh head, or a reward model; without an adapter.
        config: What it is told.
        seed: Of the head, the order, the held-out prompts and fresh adapters.
        output: Folder that the weights are written to, and checkpoints meanwhile.
        render_answers: Gives prompts and answers the token ids that the judge reads.

    Raises:
        ValueError: The start has an adapter.
    """

    pairs: pa.Table
    start: Policy
    config: RewardTrainingConfig
    seed: int
    output: Path
    render_answers: RenderAnswers

    def __post_init__(self) -> None:
        if self.start.adapter is not None:
            raise ValueError("a reward model starts from whole weights: merge the adapter into its model first")


def train_reward(job: RewardJob, progress: Progress) -> FitResult:
    """Train a reward model on pairs and write it to the job's folder.

    A killed training goes on from the last checkpoint in that folder; whoever stores the result removes them.

    Raises:
        ValueError: No pair can be trained on, a prompt is in two splits, the model is none, the check before the first
            step fails, or the loss or a gradient stops being a number.
        OSError: A checkpoint or the model can't be written.
    """
    import torch

    from training.fits.fit_holdout import first_and_last, hold_out

    started = time.monotonic()
    torch.set_num_threads(job.config.threads)
    tokenizer = load_tokenizer(job.start)
    examples = _examples(job, tokenizer)
    held_out = hold_out([one.prompt for one in examples.kept], job.config.holdout_share, job.seed)
    fitted, measured = (list(compress(examples.kept, mask)) for mask in (~held_out, held_out))
    rows: list[dict[str, Any]] = []

    def log_step(done: int, total: int, values: dict[str, float]) -> None:
        rows.extend({"step": done, "name": name, "value": value} for name, value in values.items())
        progress(done, total, values)

    fit = _fit(job, tokenizer, fitted, measured, log_step, Memory(lambda: rows, rows.extend))
    rows.insert(0, {"step": 0, "name": "loss", "value": fit.first_loss})
    if measured:
        longer = sum(one.chosen_is_longer for one in measured) / len(measured)
        rows.insert(1, {"step": 0, "name": "heldout/longer_is_chosen", "value": longer})
    counts = count_rows(job.pairs.num_rows, examples.drops.num_rows, held_out)
    result = FitResult(
        metrics=pa.Table.from_pylist(rows, schema=METRICS),
        drops=examples.drops,
        counts=counts,
        held_out=first_and_last(rows),
        seconds=time.monotonic() - started,
        tokens=job.config.epochs * sum(one.n_tokens for one in fitted),
        rewards=_rewards_table(measured, fit.rewards),
    )
    _log.info("reward model: %s, %d tokens, %.1f s", counts, result.tokens, result.seconds)
    return result


def _examples(job: RewardJob, tokenizer: "PreTrainedTokenizerBase") -> RewardExamples:
    check_chat_template(job.start.model, tokenizer)
    longest = find_longest(job.config, find_limit(read_reward_config(job.start), tokenizer))
    split = take_train_split(job.pairs)
    examples = build_reward_examples(split.pairs, tokenizer, job.render_answers, longest, job.config.margin_scale)
    drops = pa.concat_tables([split.drops, examples.drops])
    if not examples.kept:
        reasons = dict(Counter(drops["reason"].to_pylist()))
        raise ValueError(f"no pair left to train on: {job.pairs.num_rows} came in, dropped for {reasons}")
    return RewardExamples(examples.kept, drops)


@dataclass(frozen=True)
class _Fit:
    first_loss: float  # of the first batch before training
    rewards: np.ndarray  # of held-out pairs after it, shape (pairs, 2)


def _fit(
    job: RewardJob,
    tokenizer: "PreTrainedTokenizerBase",
    fitted: list[RewardExample],
    measured: list[RewardExample],
    log_step: Progress,
    metrics: Memory,
) -> _Fit:
    """Train after the check of the first batch, write the model."""
    from training.fits.fit_arguments import fit_arguments
    from training.fits.fit_holdout import HeldOutLog
    from training.fits.reward_trainer import PreferenceRewardTrainer
    from training.watching.step_log import CheckpointSteps, StepLog

    config = job.config
    model = load_reward_model(job.start, job.seed)
    ends = (ids[-1] for one in [*fitted, *measured] for ids in (one.chosen_ids, one.rejected_ids))
    padding = choose_padding(read_reward_config(job.start), tokenizer, ends)
    model.config.get_text_config().pad_token_id = padding.train
    order = make_order(config, job.seed, [one.prompt for one in fitted], [one.n_tokens for one in fitted])
    first = [fitted[row] for row in order.of_epoch(0)[: config.batch_size]]
    expected = _mean_loss(model, first, config)
    trained = model if config.lora is None else put_reward_adapter(model, config.lora, job.seed)
    arguments = fit_arguments(config, job.seed, str(job.output / FOLDER))
    callbacks = [
        StepLog(log_step, lambda what, step: trainer.diverged(what, step)),
        CheckpointSteps(config.checkpoint_steps),
    ]
    padded = _with_pad(tokenizer, padding)
    use_cache = model.config.use_cache
    trainer = PreferenceRewardTrainer(trained, padded, fitted, config, arguments, order, callbacks)
    if measured:
        trainer.add_callback(HeldOutLog(lambda: trainer.measure(measured), config.holdout_every_steps, log_step))
    observed = trainer.trained_loss(first)
    check_loss(expected, observed, None, config.dtype)
    trainer.checkpoints.memories["metrics"] = metrics
    last = trainer.checkpoints.resume()
    trainer.train(resume_from_checkpoint=None if last is None else str(last.folder))
    rewards = trainer.rewards(measured) if measured else np.zeros((0, 2))
    whole = trained if config.lora is None else trained.merge_and_unload()
    whole.config.get_text_config().pad_token_id = padding.stored
    whole.config.use_cache = use_cache
    write_policy(whole, tokenizer, job.output)
    return _Fit(observed, rewards)


def _with_pad(tokenizer: "PreTrainedTokenizerBase", padding: Padding) -> Any:
    """Give the trainers a tokenizer whose pad token is the chosen one: they write its id into the model's config."""
    padded: Any = copy.deepcopy(tokenizer)
    padded.pad_token = tokenizer.convert_ids_to_tokens(padding.train)
    return padded


def _mean_loss(model: Any, examples: list[RewardExample], config: RewardTrainingConfig) -> float:
    """Compute the loss apart from the trainer, each row alone and without padding."""
    import torch

    def reward(ids: list[int]) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, config.dtype == "bfloat16"):
            return model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0, 0].double()

    chosen = torch.stack([reward(one.chosen_ids) for one in examples]).cpu()
    rejected = torch.stack([reward(one.rejected_ids) for one in examples]).cpu()
    margins, weights = (
        torch.tensor([getattr(one, name) for one in examples], dtype=torch.float64) for name in ("margin", "weight")
    )
    losses = bradley_terry(chosen, rejected, margins, config.center_rewards_coefficient)
    return float((losses * weights).sum() / weights.sum())


def _rewards_table(examples: list[RewardExample], rewards: np.ndarray) -> pa.Table:
    columns = {
        "pair_id": [one.pair_id for one in examples],
        "prompt_id": [one.prompt for one in examples],
        "chosen_reward": rewards[:, 0],
        "rejected_reward": rewards[:, 1],
    }
    return pa.table(columns, schema=HELD_OUT_REWARDS)
