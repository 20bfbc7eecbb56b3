"""What a loss needs of the reference policy: its log-probs of the pairs' answers, computed before training."""

from typing import TYPE_CHECKING, Any  # Any: models of untyped libraries

import numpy as np

from training.examples import Example
from training.job import TrainingJob
from training.logprobs import TokenLogprobs, token_logprobs
from training.objective import Objective
from training.pair_values import PairValues
from training.policy import Policy, load_policy

if TYPE_CHECKING:
    from training.pair_dataset import ReferenceValues


def reference_values(job: TrainingJob, objective: Objective, examples: list[Example], pad_id: int) -> "ReferenceValues":
    """Give what the loss needs of the reference; the reference policy is in memory only here."""
    import torch

    from training.pair_dataset import ReferenceValues

    loss = objective.loss
    if not loss.reference:
        lengths = (torch.tensor([float(len(side.token_ids)) for side in half]) for half in _sides(examples))
        stand_in = loss.stand_in or (lambda _, chosen, rejected: (0.0 * chosen, 0.0 * rejected))
        return ReferenceValues(PairValues(*(one.double().numpy() for one in stand_in(objective.config, *lengths))))
    chosen, rejected = pair_logprobs(job, load_weights(job.reference), examples, pad_id)
    total = PairValues(*(np.array([one.logprobs.sum() for one in half]) for half in (chosen, rejected)))
    n_shared = [min(len(w.logprobs), len(y.logprobs)) for w, y in zip(chosen, rejected, strict=True)]
    shared = [
        np.array([one.logprobs[:n].sum() for one, n in zip(half, n_shared, strict=True)]) for half in (chosen, rejected)
    ]
    return ReferenceValues(total, PairValues(*shared) if loss.shared else None)


def pair_logprobs(job: TrainingJob, model: Any, examples: list[Example], pad_id: int) -> list[list[TokenLogprobs]]:
    """Compute token log-probs of the chosen answers and of the rejected ones."""
    prompts = [example.prompt_ids for example in examples]
    answers = [side.token_ids for half in _sides(examples) for side in half]
    size = job.config.micro_batch_size or job.config.batch_size
    found = token_logprobs(model, prompts * 2, answers, pad_id, size, job.config.dtype)
    for row, one in enumerate(found):
        if not np.isfinite(one.logprobs).all():
            raise ValueError(
                f"pair {examples[row % len(examples)].pair_id}: an answer has no finite log-prob under "
                f"{model.name_or_path} before training"
            )
    return [found[: len(examples)], found[len(examples) :]]


def load_weights(policy: Policy) -> Any:
    """Load a policy in float32, with its adapter."""
    return load_policy(policy.model, policy.adapter, "float32", policy.revision, policy.trust_remote_code)


def _sides(examples: list[Example]) -> tuple[list[Any], list[Any]]:
    return [example.chosen for example in examples], [example.rejected for example in examples]
