"""The trainer's own loss on given log-probs: a real `PairTrainer`, whose model's outputs are replaced by the numbers.

Everything between the model and the optimiser is what training uses: dataset, collator, TRL's `_compute_loss`, ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any  # models of untyped libraries

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from trl.trainer.utils import FusedCausalLMOutput

from benchmarks.random_llama import train_tokenizer
from training.arguments import trainer_arguments
from training.config import TrainingConfig
from training.losses.catalogue import LOSSES
from training.losses.loss import LossFields, State
from training.objective import Objective
from training.order import Order
from training.pair_dataset import ReferenceValues, pair_dataset
from training.rows.examples import Answer, Example
from training.rows.pair_values import PairValues
from training.trainer import PairTrainer

_PROMPT = [3, 4]


@dataclass(frozen=True)
class Case:
    """One pair in numbers.

    Attributes:
        policy_chosen: Token log-probs of the chosen answer under the policy.
        policy_rejected: The same of the rejected one.
        ref_chosen: Under the reference.
        ref_rejected: The same of the rejected one.
        columns: What a loss may ask for of the pairs' table.
        mismatched: h of an answer to another prompt.
        sum_sq: log sum_v p_v^2 of every token, the chosen answer's before the rejected one's; None = zeros.
        weight: How much the pair counts.
    """

    policy_chosen: list[float]
    policy_rejected: list[float]
    ref_chosen: list[float]
    ref_rejected: list[float]
    columns: Mapping[str, float] = field(default_factory=dict)
    mismatched: float = 0.0
    sum_sq: list[float] | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Computed:
    """A mean loss and its gradient by each token's log-prob: chosen and rejected, one array a case."""

    loss: float
    grad_chosen: list[np.ndarray]
    grad_rejected: list[np.ndarray]


class LossTrainer:
    """A real trainer on some cases."""

    def __init__(self, config: LossFields, cases: Sequence[Case], folder: Path) -> None:
        """Build the trainer, on a model of a few hundred weights.

        Args:
            config: A loss's hyper-parameters; its `name` says which.
            cases: The pairs.
            folder: Where the trainer would write to.
        """
        name: str = config.model_dump()["name"]
        self._cases = cases
        self.objective = Objective(LOSSES[name], config)
        whole = TrainingConfig(batch_size=len(cases), threads=1)
        arguments = trainer_arguments(whole, self.objective.trl_arguments, 0, str(folder))
        loss = self.objective.loss
        dataset = pair_dataset([_example(i, case) for i, case in enumerate(cases)], self._reference(), loss.columns)
        tokenizer = train_tokenizer(["a"], 300)
        order = Order("shuffled", 0, np.arange(len(cases)), np.ones(len(cases)), len(cases))
        self.trainer = PairTrainer(_tiny_model(tokenizer), tokenizer, dataset, arguments, self.objective, order, [])
        self._rows: list[Any] = list(dataset)
        self._policy_model: Any = self.trainer.model
        self._policy_model.eval()  # in training mode the loss is scaled to its share of the step

    def compute(self, rows: Sequence[int], state: State | None = None) -> Computed:
        """Compute the loss of some cases as one batch, through the trainer.

        Args:
            rows: Numbers of the cases.
            state: What the loss remembers; None = as before the first step.
        """
        initial = self.objective.loss.initial
        self.trainer.loss_state = dict(state or (initial(self.objective.config) if initial else {}))
        model = StubModel([self._cases[row] for row in rows])
        inputs: dict[str, Any] = dict(self.trainer.data_collator([self._rows[row] for row in rows]))
        loss = self.trainer._compute_loss(model, inputs, False)
        loss.backward()
        gradient = model.values.grad
        sizes = [len(tokens) for tokens in model.tokens]
        parts = [part.numpy() for part in (torch.zeros(sum(sizes)) if gradient is None else gradient).split(sizes)]
        return Computed(loss.item(), parts[: len(rows)], parts[len(rows) :])

    def _reference(self) -> ReferenceValues:
        """Put the reference's numbers where `training.reference` would; a loss without one gets what stands for it."""
        loss, cases = self.objective.loss, self._cases
        sides = ([case.ref_chosen for case in cases], [case.ref_rejected for case in cases])
        if not loss.reference:
            return ReferenceValues(self.objective.stand_in(*([len(tokens) for tokens in side] for side in sides)))
        n_shared = [min(len(chosen), len(rejected)) for chosen, rejected in zip(*sides, strict=True)]
        shared = [[sum(tokens[:n]) for tokens, n in zip(side, n_shared, strict=True)] for side in sides]
        return ReferenceValues(
            total=PairValues(*(np.array([sum(tokens) for tokens in side]) for side in sides)),
            shared=PairValues(*(np.array(side) for side in shared)) if loss.shared else None,
            # The stub gives the other prompt's answer a log-prob of 0, so that its h is minus this.
            mismatched=np.array([-case.mismatched for case in cases]) if loss.mismatched else None,
        )


class StubModel:
    """Gives the cases' token log-probs where the labels are, at its first call; zeros later."""

    def __init__(self, cases: Sequence[Case]) -> None:
        """Take the cases of a batch, in its order."""
        chosen, rejected = [case.policy_chosen for case in cases], [case.policy_rejected for case in cases]
        self.tokens = [*chosen, *rejected]
        self.values = torch.tensor(list(chain(*self.tokens)), dtype=torch.float64, requires_grad=True)
        halves = [case.sum_sq or [0.0] * (len(case.policy_chosen) + len(case.policy_rejected)) for case in cases]
        stats = [half[: len(tokens)] for half, tokens in zip(halves, chosen, strict=True)]
        stats += [half[len(tokens) :] for half, tokens in zip(halves, chosen, strict=True)]
        self._sum_sq = torch.tensor(list(chain(*stats)), dtype=torch.float64)
        self._called = False

    def __call__(self, labels: torch.Tensor, **_: Any) -> FusedCausalLMOutput:
        """Answer as a model with TRL's fused head does."""
        mask = labels[:, 1:] != -100
        zeros = torch.zeros(mask.shape, dtype=torch.float64)
        first, self._called = not self._called, True
        return FusedCausalLMOutput(
            log_probs=zeros.masked_scatter(mask, self.values) if first else zeros,
            entropy=zeros,
            log_sum_sq_probs=zeros.masked_scatter(mask, self._sum_sq) if first else zeros,
            mean_logits=zeros,
            is_top1=mask,
        )


def _example(number: int, case: Case) -> Example:
    def answer(tokens: list[float]) -> Answer:
        return Answer([5] * len(tokens), False, None, None)

    return Example(
        pair_id=f"pair{number}",
        prompt=f"prompt{number}",
        prompt_ids=_PROMPT,
        chosen=answer(case.policy_chosen),
        rejected=answer(case.policy_rejected),
        weight=case.weight,
        columns=case.columns,
        mismatched=[5, 5],
    )


def _tiny_model(tokenizer: Any) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=None,
        )
    )  # fmt: skip
