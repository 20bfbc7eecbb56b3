"""Supervised fine-tuning: prompts with good answers and a start policy in, a first policy out.

It is also Preferred-FT, the baseline of the DPO paper (arXiv 2305.18290): trained on the chosen answers of pairs.
"""

import copy
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any  # Any: models of untyped libraries

import pyarrow as pa

from training.checkpoints import FOLDER, Memory
from training.fits.fit_job import FitResult, check_chat_template, count_rows, find_longest, make_order
from training.fits.sft_config import SftConfig
from training.fits.sft_examples import SftExample, SftExamples, build_sft_examples
from training.job import Progress
from training.logprobs import sequence_logprobs
from training.policies.adapter import put_adapter
from training.policies.policy import Policy, configs_kept, load_policy, load_tokenizer, read_limits, write_policy
from training.rows.examples import Rendering
from training.schema import METRICS
from training.step0 import check_loss

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SftJob:
    """One supervised fine-tuning.

    Attributes:
        rows: Table of `training.schema.SFT_ROWS`.
        start: The policy to train.
        config: What it is told.
        seed: Of the order, the held-out prompts and fresh adapters.
        output: Folder that weights or adapter are written to, and checkpoints meanwhile.
        render_prompt: Renders messages up to where the answer begins, as the generator does.
        tokenizer_identity: Names a tokenizer as the rows' `tokenizer` does.
        hash_token_ids: Hashes token ids as the rows' `prompt_hash` does.

    Raises:
        ValueError: The start policy has an adapter and the config none.
    """

    rows: pa.Table
    start: Policy
    config: SftConfig
    seed: int
    output: Path
    render_prompt: "Callable[[PreTrainedTokenizerBase, list[dict[str, str]]], list[int]]"
    tokenizer_identity: "Callable[[PreTrainedTokenizerBase], str]"
    hash_token_ids: Callable[[list[int]], str]

    def __post_init__(self) -> None:
        if self.start.adapter is not None and self.config.lora is None:
            raise ValueError("the start policy has a LoRA adapter: set lora to go on with it")


def sft(job: SftJob, progress: Progress) -> FitResult:
    """Train a policy on answers and write it to the job's folder.

    A killed training goes on from the last checkpoint in that folder; whoever stores the result removes them.

    Raises:
        ValueError: No row can be trained on, a row breaks the token contract, the check before the first step fails,
            or the loss or a gradient stops being a number.
        OSError: A checkpoint or the policy can't be written.
    """
    import torch

    from training.fits.fit_holdout import first_and_last, hold_out

    started = time.monotonic()
    torch.set_num_threads(job.config.threads)
    tokenizer = load_tokenizer(job.start)
    examples = _examples(job, tokenizer)
    held_out = hold_out([one.prompt for one in examples.kept], job.config.holdout_share, job.seed)
    fitted = list(compress(examples.kept, ~held_out))
    measured = list(compress(examples.kept, held_out))
    rows: list[dict[str, Any]] = []

    def log_step(done: int, total: int, values: dict[str, float]) -> None:
        rows.extend({"step": done, "name": name, "value": value} for name, value in values.items())
        progress(done, total, values)

    loss = _fit(job, tokenizer, fitted, measured, log_step, Memory(lambda: rows, rows.extend))
    rows.insert(0, {"step": 0, "name": "loss", "value": loss})
    counts = count_rows(job.rows.num_rows, examples.drops.num_rows, held_out)
    counts["answers_retokenized"] = sum(one.retokenized for one in examples.kept)
    counts["answers_not_as_template"] = sum(not one.as_template for one in examples.kept)
    result = FitResult(
        metrics=pa.Table.from_pylist(rows, schema=METRICS),
        drops=examples.drops,
        counts=counts,
        held_out=first_and_last(rows),
        seconds=time.monotonic() - started,
        tokens=job.config.epochs * sum(one.n_tokens for one in fitted),
    )
    _log.info("sft: %s, %d tokens, %.1f s", counts, result.tokens, result.seconds)
    return result


def _examples(job: SftJob, tokenizer: "PreTrainedTokenizerBase") -> SftExamples:
    check_chat_template(job.start.model, tokenizer)
    rendering = Rendering(job.render_prompt, job.tokenizer_identity, job.hash_token_ids)
    limits = read_limits(job.start, tokenizer)
    longest = find_longest(job.config, limits.max_positions)
    examples = build_sft_examples(job.rows, tokenizer, rendering, limits, longest)
    if not examples.kept:
        reasons = dict(Counter(examples.drops["reason"].to_pylist()))
        raise ValueError(f"no answer left to train on: {job.rows.num_rows} came in, dropped for {reasons}")
    otherwise = [one.candidate_id for one in examples.kept if not one.as_template]
    if otherwise:
        _log.warning(
            "%d of %d answers stand otherwise in the chat template's own rendering of the whole conversation, the "
            "first is %s; trained on is the prompt with its generation prompt and the answer right behind it",
            len(otherwise), len(examples.kept), otherwise[0],
        )  # fmt: skip
    return examples


def _fit(
    job: SftJob,
    tokenizer: "PreTrainedTokenizerBase",
    fitted: list[SftExample],
    measured: list[SftExample],
    log_step: Progress,
    metrics: Memory,
) -> float:
    """Train after the check of the first batch, write the policy; give the loss before the first step."""
    from training.fits.fit_arguments import fit_arguments
    from training.fits.fit_holdout import HeldOutLog
    from training.fits.sft_trainer import CompletionTrainer
    from training.watching.step_log import CheckpointSteps, StepLog

    config = job.config
    padded: Any = copy.deepcopy(tokenizer)  # the saved one keeps its own pad token, or none
    padded.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = load_policy(job.start.model, job.start.adapter, "float32", job.start.revision, job.start.trust_remote_code)
    order = make_order(config, job.seed, [one.prompt for one in fitted], [one.n_tokens for one in fitted])
    first = [fitted[row] for row in order.of_epoch(0)[: config.batch_size]]
    expected = _mean_nll(model, first, padded.pad_token_id, config)
    with configs_kept(model):
        trained: Any = model if config.lora is None else put_adapter(model, config.lora, job.seed)
        arguments = fit_arguments(config, job.seed, str(job.output / FOLDER))
        callbacks = [
            StepLog(log_step, lambda what, step: trainer.diverged(what, step)),
            CheckpointSteps(config.checkpoint_steps),
        ]
        trainer = CompletionTrainer(trained, padded, fitted, arguments, order, callbacks)
        if measured:
            trainer.add_callback(HeldOutLog(lambda: trainer.measure(measured), config.holdout_every_steps, log_step))
        observed = trainer.measure(first)["loss"]
        check_loss(expected, observed, None, config.dtype)
        trainer.checkpoints.memories["metrics"] = metrics
        last = trainer.checkpoints.resume()
        trainer.train(resume_from_checkpoint=None if last is None else str(last.folder))
    if config.lora is not None and config.merge_adapter:
        trained = trained.merge_and_unload()
    write_policy(trained, tokenizer, job.output)
    return observed


def _mean_nll(model: Any, examples: list[SftExample], pad_id: int, config: SftConfig) -> float:
    """Compute the loss apart from the trainer, nats a completion token."""
    prompts, completions = [one.prompt_ids for one in examples], [one.completion_ids for one in examples]
    micro = config.micro_batch_size or config.batch_size
    sums = sequence_logprobs(model, prompts, completions, pad_id, micro, config.dtype)
    return float(-sums.sum() / sum(map(len, completions)))
