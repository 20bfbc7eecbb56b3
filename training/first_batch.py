"""The first batch before the first step: its loss by the trainer, and by the formula from log-probs computed apart."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.examples import Example
from training.job import TrainingJob
from training.logprobs import TokenLogprobs
from training.objective import Objective
from training.pair_values import PairValues
from training.step0 import Step0Report, check_loss, check_stored

if TYPE_CHECKING:
    from training.losses.pairs import Pairs
    from training.pair_dataset import ReferenceValues
    from training.trainer import PairTrainer


@dataclass(frozen=True)
class FirstBatch:
    """What is known of the first batch before the first step."""

    examples: list[Example]  # all of them
    reference: "ReferenceValues"  # of all
    rows: list[int]
    tokens: "list[list[TokenLogprobs]]"  # under the policy, of these rows: chosen answers, rejected answers

    def pairs(self, objective: Objective) -> "Pairs":
        """Give the loss what it asks for, computed apart from the trainer."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        from training.losses.pairs import Pairs, Side

        rows = np.array(self.rows)
        shared = self.reference.shared

        def side(half: int, name: str) -> Side:
            tokens = [torch.from_numpy(one.logprobs) for one in self.tokens[half]]
            return Side(
                tokens=pad_sequence(tokens, batch_first=True),
                mask=pad_sequence([torch.ones(len(one), dtype=torch.bool) for one in tokens], batch_first=True),
                ref=torch.from_numpy(getattr(self.reference.total, name)[rows]),
                ref_shared=None if shared is None else torch.from_numpy(getattr(shared, name)[rows]),
                sum_sq=pad_sequence([torch.from_numpy(one.sum_sq) for one in self.tokens[half]], batch_first=True),
            )

        columns = {
            name: torch.tensor([self.examples[row].columns[name] for row in self.rows], dtype=torch.float64)
            for name in objective.loss.columns
        }
        return Pairs(side(0, "chosen"), side(1, "rejected"), columns)


def check_first_batch(job: TrainingJob, objective: Objective, batch: FirstBatch, trainer: "PairTrainer") -> Step0Report:
    """Hold the first batch's loss against the formula, and log-probs against the generator's."""
    import torch

    from training.losses.loss import Moment

    observed = trainer.evaluate_rows(batch.rows)
    moment = Moment(trainer.loss_state, job.seed, 0)
    losses = objective.loss.formula(batch.pairs(objective), objective.config, moment)
    weights = torch.tensor([batch.examples[row].weight for row in batch.rows], dtype=torch.float64)
    expected = float((losses * weights).sum() / weights.sum())
    own_reference = objective.loss.reference and job.start.key == job.reference.key
    identity = objective.loss.at_reference(objective.config) if own_reference and objective.loss.at_reference else None
    check_loss(expected, observed["loss"], identity, job.config.dtype)
    coarser = "float32" if job.config.dtype == job.generator_dtype == "float32" else "bfloat16"
    sums = PairValues(*(np.array([one.logprobs.sum() for one in half]) for half in batch.tokens))
    first = [batch.examples[row] for row in batch.rows]
    compared = (batch.examples, batch.reference.total) if own_reference else (first, sums)
    stored = check_stored(*compared, job.start.key, coarser)
    return Step0Report(
        expected_loss=expected,
        observed_loss=observed["loss"],
        margin=observed["rewards/margins"],
        pairs=len(batch.rows),
        stored_answers=stored.answers,
        stored_max_difference=stored.largest,
    )
