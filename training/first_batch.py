"""The first batch before the first step: its loss by the trainer, and by the formula from log-probs computed apart."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from training.job import TrainingJob
from training.logprobs import TokenLogprobs
from training.objective import Objective
from training.rows.examples import Example
from training.rows.pair_values import PairValues
from training.step0 import Step0Report, check_loss, check_own_reference, check_stored, coarser

if TYPE_CHECKING:
    from training.losses.pairs import Pairs, Side
    from training.reference.reference import Reference
    from training.trainer import PairTrainer


@dataclass(frozen=True)
class FirstBatch:
    """What is known of the first batch before the first step."""

    examples: list[Example]  # all of them
    reference: "Reference"  # of all
    rows: list[int]
    tokens: "list[list[TokenLogprobs]]"  # under the policy, of these rows: chosen answers, rejected answers
    mismatched: np.ndarray | None = None  # log-prob sums of their answers to other prompts, likewise

    def pairs(self, objective: Objective) -> "Pairs":
        """Give the loss what it asks for, computed apart from the trainer."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        from training.losses.pairs import Pairs, Side

        rows = np.array(self.rows)
        shared = self.reference.values.shared

        def side(half: int, name: str) -> Side:
            tokens = [torch.from_numpy(one.logprobs) for one in self.tokens[half]]
            return Side(
                tokens=pad_sequence(tokens, batch_first=True),
                mask=pad_sequence([torch.ones(len(one), dtype=torch.bool) for one in tokens], batch_first=True),
                ref=torch.from_numpy(getattr(self.reference.values.total, name)[rows]),
                ref_shared=None if shared is None else torch.from_numpy(getattr(shared, name)[rows]),
                sum_sq=pad_sequence([torch.from_numpy(one.sum_sq) for one in self.tokens[half]], batch_first=True),
            )

        columns = {
            name: torch.tensor([self.examples[row].columns[name] for row in self.rows], dtype=torch.float64)
            for name in objective.loss.columns
        }
        ratio = None
        if self.mismatched is not None and self.reference.values.mismatched is not None:
            ratio = torch.from_numpy(self.mismatched - self.reference.values.mismatched[rows])
        return Pairs(side(0, "chosen"), side(1, "rejected"), columns, ratio)


def check_first_batch(job: TrainingJob, objective: Objective, batch: FirstBatch, trainer: "PairTrainer") -> Step0Report:
    """Hold the first batch's loss against the formula, and log-probs against the generator's."""
    import torch

    from training.losses.loss import Moment

    observed = trainer.evaluate_rows(batch.rows)
    moment = Moment(trainer.loss_state, job.seed, 0)
    weights = torch.tensor([batch.examples[row].weight for row in batch.rows], dtype=torch.float64)
    pairs = batch.pairs(objective)

    def mean_loss(of: "Pairs") -> float:
        return float((objective.loss.formula(of, objective.config, moment) * weights).sum() / weights.sum())

    expected = mean_loss(pairs)
    own_reference = job.has_own_reference(objective.loss)
    identity = objective.loss.at_reference(objective.config) if own_reference and objective.loss.at_reference else None
    computed = own_reference and not batch.reference.facts.generated
    compute = coarser(job.config.dtype, job.generator_dtype)
    sums = PairValues(*(np.array([one.logprobs.sum() for one in half]) for half in batch.tokens))
    first, values = [batch.examples[row] for row in batch.rows], batch.reference.values.total
    if own_reference:
        check_own_reference(first, values.take(np.array(batch.rows)), sums, job.config.dtype if computed else compute)
    # 4 bits move the shipped writer's log-probs by 0.04 nats a token in the mean, 0.66 at most: no rounding to check.
    compared = ([], sums) if job.config.four_bits else (batch.examples, values) if computed else (first, sums)
    identity = identity if computed else None
    # A smooth loss moves one way with the rounding of log-probs and the other way with its mirror image; dpop does not.
    jump = 0.0 if identity is None else abs((expected + mean_loss(_mirrored(pairs))) / 2 - identity)
    check_loss(expected, observed["loss"], identity, job.config.dtype, jump)
    stored = check_stored(*compared, job.start.key, compute)
    return Step0Report(
        expected_loss=expected,
        observed_loss=observed["loss"],
        margin=observed["rewards/margins"],
        pairs=len(batch.rows),
        stored_answers=stored.answers,
        stored_max_difference=stored.largest,
        metrics=observed,
    )


def _mirrored(pairs: "Pairs") -> "Pairs":
    """Turn the sign of each h by moving all tokens of an answer as much."""

    def side(one: "Side") -> "Side":
        return replace(one, tokens=one.tokens - one.mask * (2 * one.mean_ratio)[:, None])

    return replace(pairs, chosen=side(pairs.chosen), rejected=side(pairs.rejected))
