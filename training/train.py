"""The training stage's verb: pairs and a start policy in, the next policy and its metrics out.

A killed training starts over: no checkpoints are written.
"""

import copy
import logging
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any  # Any: models of untyped libraries

import numpy as np
import pyarrow as pa

from training.adapter import put_adapter
from training.examples import Example, Examples, Rendering, build_examples
from training.job import Progress, TrainingJob, TrainingResult
from training.logprobs import sequence_logprobs
from training.objective import Objective, PairValues, objective_of
from training.order import epoch_order
from training.policy import Policy, configs_kept, load_policy, load_tokenizer, read_limits, write_policy
from training.schema import METRICS
from training.step0 import Step0Report, check_loss, check_stored

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_log = logging.getLogger(__name__)


def train(job: TrainingJob, progress: Progress) -> TrainingResult:
    """Train a policy on pairs and write it to the job's folder.

    Raises:
        ValueError: No pair can be trained on, a row breaks the token contract, the check before the first step
            fails, or the loss stops being a number.
    """
    import torch

    started = time.monotonic()
    torch.set_num_threads(job.config.threads)
    tokenizer = load_tokenizer(job.start)
    examples = _examples(job, tokenizer)
    rows: list[dict[str, Any]] = []

    def log_step(done: int, total: int, values: dict[str, float]) -> None:
        rows.extend({"step": done, "name": name, "value": value} for name, value in values.items())
        progress(done, total, values)

    step0 = _fit(job, tokenizer, examples.kept, log_step)
    before = {"loss": step0.observed_loss, "rewards/margins": step0.margin}
    rows[:0] = [{"step": 0, "name": name, "value": value} for name, value in before.items()]
    result = TrainingResult(
        metrics=pa.Table.from_pylist(rows, schema=METRICS),
        drops=examples.drops,
        step0=step0,
        counts=_counts(examples),
        seconds=time.monotonic() - started,
        tokens=job.config.epochs * sum(_n_tokens(example) for example in examples.kept),
    )
    _log.info("training: %s, %d tokens, %.1f s", result.counts, result.tokens, result.seconds)
    return result


def _examples(job: TrainingJob, tokenizer: "PreTrainedTokenizerBase") -> Examples:
    rendering = Rendering(job.render_prompt, job.tokenizer_identity, job.hash_token_ids)
    limits = read_limits(job.start, tokenizer)
    examples = build_examples(job.pairs, tokenizer, rendering, limits, job.config.max_length)
    if not examples.kept:
        reasons = dict(Counter(examples.drops["reason"].to_pylist()))
        raise ValueError(f"no pair left to train on: {job.pairs.num_rows} came in, dropped for {reasons}")
    return examples


def _fit(
    job: TrainingJob, tokenizer: "PreTrainedTokenizerBase", examples: list[Example], log_step: Progress
) -> Step0Report:
    """Compute the reference, train after the check of the first batch, write the policy."""
    from training.trainer import PairTrainer, preference_dataset, trainer_arguments

    objective = objective_of(job.config.loss)
    padded: Any = copy.deepcopy(tokenizer)  # the saved one keeps its own pad token, or none
    padded.pad_token = tokenizer.pad_token or tokenizer.eos_token
    pad_id = padded.pad_token_id
    reference = _reference(job, objective, examples, pad_id)
    model = _load(job.start)
    first = epoch_order(len(examples), job.seed, 0)[: job.config.batch_size].tolist()
    policy = _logprobs(job, model, [examples[row] for row in first], pad_id)
    with configs_kept(model):
        trained = model if job.config.lora is None else put_adapter(model, job.config.lora, job.seed)
        arguments = trainer_arguments(job.config, objective, job.seed, str(job.output))
        dataset = preference_dataset(examples, reference)
        trainer = PairTrainer(trained, padded, dataset, arguments, objective, log_step)
        batch = _FirstBatch(first, policy, trainer.evaluate_rows(first))
        report = _check(job, objective, examples, reference, batch)
        trainer.train()
    write_policy(trained, tokenizer, job.output)
    return report


@dataclass(frozen=True)
class _FirstBatch:
    """What is known of the first batch before the first step."""

    rows: list[int]
    logprobs: PairValues  # under the policy, of these rows
    observed: dict[str, float]  # the trainer's loss and margin


def _check(
    job: TrainingJob, objective: Objective, examples: list[Example], reference: PairValues, batch: _FirstBatch
) -> Step0Report:
    """Hold the first batch's loss against the formula, and log-probs against the generator's."""
    dtype, rows, observed = job.config.dtype, np.array(batch.rows), batch.observed
    expected = float(objective.loss(batch.logprobs, reference.take(rows), _lengths(examples).take(rows)).mean())
    own_reference = objective.reference is None and job.start.key == job.reference.key
    check_loss(expected, observed["loss"], own_reference, dtype)
    coarser = "float32" if dtype == job.generator_dtype == "float32" else "bfloat16"
    compared = (examples, reference) if own_reference else ([examples[row] for row in batch.rows], batch.logprobs)
    stored = check_stored(*compared, job.start.key, coarser)
    return Step0Report(
        expected_loss=expected,
        observed_loss=observed["loss"],
        margin=observed["rewards/margins"],
        pairs=len(batch.rows),
        stored_answers=stored.answers,
        stored_max_difference=stored.largest,
    )


def _reference(job: TrainingJob, objective: Objective, examples: list[Example], pad_id: int) -> PairValues:
    """Fill the reference columns; the reference policy is in memory only here."""
    if objective.reference is not None:
        return objective.reference(_lengths(examples))
    return _logprobs(job, _load(job.reference), examples, pad_id)


def _logprobs(job: TrainingJob, model: Any, examples: list[Example], pad_id: int) -> PairValues:
    prompts = [example.prompt_ids for example in examples]
    answers = [example.chosen.token_ids for example in examples] + [example.rejected.token_ids for example in examples]
    size = job.config.micro_batch_size or job.config.batch_size
    sums = sequence_logprobs(model, prompts * 2, answers, pad_id, size, job.config.dtype)
    if not np.isfinite(sums).all():
        bad = examples[int(np.flatnonzero(~np.isfinite(sums))[0]) % len(examples)]
        raise ValueError(
            f"pair {bad.pair_id}: an answer has no finite log-prob under {model.name_or_path} before training"
        )
    return PairValues(sums[: len(examples)], sums[len(examples) :])


def _load(policy: Policy) -> Any:
    return load_policy(policy.model, policy.adapter, "float32", policy.revision, policy.trust_remote_code)


def _lengths(examples: list[Example]) -> PairValues:
    chosen = np.array([len(example.chosen.token_ids) for example in examples], dtype=np.float64)
    rejected = np.array([len(example.rejected.token_ids) for example in examples], dtype=np.float64)
    return PairValues(chosen, rejected)


def _counts(examples: Examples) -> dict[str, int]:
    kept, dropped = len(examples.kept), examples.drops.num_rows
    answers = [answer for example in examples.kept for answer in (example.chosen, example.rejected)]
    return {
        "pairs_in": kept + dropped,
        "pairs_trained": kept,
        "pairs_dropped": dropped,
        "answers_retokenized": sum(answer.retokenized for answer in answers),
    }


def _n_tokens(example: Example) -> int:
    return 2 * len(example.prompt_ids) + len(example.chosen.token_ids) + len(example.rejected.token_ids)
