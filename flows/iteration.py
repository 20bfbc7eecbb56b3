"""What a recipe says about going from round to round: schedules, replay, what follows a refusal, when to stop."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

_Values = Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)]


class ScheduleConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Settings that change from round to round: a list gives one value a round, its last serves all rounds after."""

    temperature: _Values | None = None
    """Sampling temperatures, instead of `generation.sampling.temperature`; `evaluation.temperature` must be given."""
    beta: _Values | None = None
    """Strengths of the loss, instead of `training.loss.beta`."""
    learning_rate: _Values | None = None
    """Peak learning rates, instead of `training.learning_rate`."""


class RetryConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A refused round trained again on the same pairs, more gently."""

    times: int = Field(default=2, ge=1, le=20)
    """Most retries of one round; after the last the old policy is kept and the next round begins."""
    learning_rate_factor: float = Field(default=0.5, gt=0, le=1)
    """The learning rate is multiplied by this at each retry; lower changes the policy less."""
    beta_factor: float = Field(default=2.0, ge=1)
    """The loss's beta is multiplied by this at each retry; for DPO higher keeps closer to the reference."""


class StopConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """When a run ends before its last round; a rule that is null is off.

    The rules look at each round's new policy, accepted or not, once its retries are over.
    """

    no_gain_rounds: int | None = Field(default=None, ge=1)
    """Stop after so many rounds in a row without an accepted policy."""
    annotator_only: bool = False
    """Stop when the annotator rates the new policy higher and the gate's judge does not."""
    min_entropy_share: float | None = Field(default=None, gt=0, le=1)
    """Stop when the new policy's token entropy falls below this share of the start's; 0.8 is a usual guard."""
    min_distinct_share: float | None = Field(default=None, gt=0, le=1)
    """Stop when the new policy's distinct-2 falls below this share of the start's; 0.9 is a usual guard."""
    max_kl: float | None = Field(default=None, gt=0)
    """Stop when the new policy has drifted further from the start than this, in nats per answer; wants answers drawn
    at temperature 1 and top_p 1 (evaluation)."""


class IterationConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """How one round leads to the next."""

    start: Literal["policy", "last_good"] = "policy"
    """Where a run begins when the same recipe has run before and its source now holds new prompts. policy: at `policy`,
    with all prompts. last_good: at the last good policy of the run before, with prompts that no run has trained on."""
    on_refusal: Literal["stop", "keep", "retry"] = "keep"
    """After a refused round: stop the run, keep the old policy and try the next prompts, or train again more gently."""
    retry: RetryConfig = RetryConfig()
    """How a refused round is retried, with `on_refusal: retry`."""
    replay_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training pairs that are taken from earlier rounds; 0.25 to 0.5 keeps a policy from forgetting."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Settings round by round."""
    stop: StopConfig = StopConfig()
    """When to stop before the last round."""


def value_of_round(values: list[float] | None, number: int, default: float) -> float:
    """Pick a scheduled value for a round, or the default where nothing is scheduled."""
    return values[min(number, len(values)) - 1] if values else default
