"""The training stage's verb: pairs and a start policy in, the next policy and its metrics out."""

import copy
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any  # Any: models of untyped libraries

import numpy as np
import pyarrow as pa

from training.adapter import put_adapter
from training.examples import Example, Examples, Rendering, build_examples
from training.first_batch import FirstBatch, check_first_batch
from training.job import Progress, TrainingJob, TrainingResult
from training.losses.catalogue import LOSSES
from training.objective import Objective
from training.order import Order, number_prompts
from training.policy import configs_kept, load_tokenizer, read_limits, write_policy
from training.reference import load_weights, pair_logprobs, reference_values
from training.schema import METRICS
from training.step0 import Step0Report

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
    from training.arguments import trainer_arguments
    from training.pair_dataset import pair_dataset
    from training.step_log import StepLog
    from training.trainer import PairTrainer

    objective = Objective(LOSSES[job.config.loss.name], job.config.loss)
    padded: Any = copy.deepcopy(tokenizer)  # the saved one keeps its own pad token, or none
    padded.pad_token = tokenizer.pad_token or tokenizer.eos_token
    pad_id = padded.pad_token_id
    reference = reference_values(job, objective, examples, pad_id)
    model = load_weights(job.start)
    order = _order(job, examples)
    first = order.of_epoch(0)[: job.config.batch_size].tolist()
    policy = pair_logprobs(job, model, [examples[row] for row in first], pad_id)
    with configs_kept(model):
        trained = model if job.config.lora is None else put_adapter(model, job.config.lora, job.seed)
        arguments = trainer_arguments(job.config, objective.trl_arguments, job.seed, str(job.output))
        dataset = pair_dataset(examples, reference, objective.loss.columns)
        log = StepLog(log_step, lambda: trainer.names_of_step())
        trainer: PairTrainer = PairTrainer(trained, padded, dataset, arguments, objective, order, [log])
        report = check_first_batch(job, objective, FirstBatch(examples, reference, first, policy), trainer)
        trainer.train()
    write_policy(trained, tokenizer, job.output)
    return report


def _order(job: TrainingJob, examples: list[Example]) -> Order:
    return Order(
        batches=job.config.batches,
        seed=job.seed,
        prompts=number_prompts([example.prompt for example in examples]),
        lengths=np.array([_n_tokens(example) for example in examples]),
        batch_size=job.config.batch_size,
    )


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
