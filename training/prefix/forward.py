"""A model's forward on a flat batch, with TRL's output of its fused head."""

import functools
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any  # models of untyped libraries

import torch
from trl.trainer.utils import FusedCausalLMOutput

from training.prefix.attention import NAME, register
from training.prefix.head import Logits, Scores, score
from training.prefix.plan import PrefixPlan


def add_shared_forward(model: Any, outputs: tuple[str, ...]) -> None:
    """Have `model(..., prefix_plan=plan)` compute the plan's flat batch; without a plan nothing changes.

    To be called on the model itself, not on a PEFT wrapper, after TRL has added its fused head and before accelerate
    wraps the forward: later, autocast would not reach it, and policy and reference would differ at the first step.

    Args:
        model: A model that `training.prefix.support` allows.
        outputs: Fields of TRL's FusedCausalLMOutput that are wanted beside `log_probs`.
    """
    _set_attention(model, NAME)
    fused = model.forward

    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, prefix_plan: PrefixPlan | None = None, **kwargs: Any) -> Any:
        if prefix_plan is None:
            return fused(*args, **kwargs)
        plan = prefix_plan.to(kwargs["input_ids"].device)
        return _output(plan, shared_scores(self, plan, outputs))

    model.forward = types.MethodType(forward, model)


@contextmanager
def shared_attention(model: Any) -> Iterator[None]:
    """Put this package's attention into a model for a while; it is SDPA for ordinary batches."""
    before = model.config._attn_implementation
    _set_attention(model, NAME)
    try:
        yield
    finally:
        _set_attention(model, before)


def _set_attention(model: Any, name: str) -> None:
    register()
    model.set_attn_implementation(name)


def shared_scores(model: Any, plan: PrefixPlan, outputs: tuple[str, ...]) -> Scores:
    """Score a plan's answers with a model that has the shared attention.

    Args:
        model: The model itself, not a PEFT wrapper.
        plan: On the model's device.
        outputs: Names of the wanted fields of `Scores`.
    """
    # A mask of four dimensions is passed on as it is; the attention goes by the plan.
    no_mask = torch.zeros((1, 1, 1, 1), dtype=torch.bool, device=plan.input_ids.device)
    hidden = model.base_model(
        input_ids=plan.input_ids, position_ids=plan.position_ids, attention_mask=no_mask, use_cache=False,
        prefix_plan=plan,
    ).last_hidden_state[0]  # fmt: skip
    head = model.get_output_embeddings()
    return score(
        hidden.index_select(0, plan.scored), head, plan.labels, Logits.of(model.config.get_text_config()), outputs
    )


def _output(plan: PrefixPlan, scores: Scores) -> FusedCausalLMOutput:
    def rows(values: torch.Tensor | None) -> torch.Tensor | None:
        return None if values is None else plan.to_rows(values)

    log_probs = plan.to_rows(scores.log_probs)
    mask = plan.to_rows(torch.ones_like(scores.log_probs, dtype=torch.bool))
    return FusedCausalLMOutput(
        loss=-log_probs.sum() / len(plan.cells),
        log_probs=log_probs,
        entropy=rows(scores.entropy),
        log_sum_sq_probs=rows(scores.log_sum_sq_probs),
        mean_logits=rows(scores.mean_logits),
        is_top1=rows(scores.is_top1),
        label_mask=mask,
    )
