"""What a recipe says about training.

Fields marked `how` change speed or memory, never an answer beyond rounding, so they stay out of the cache key.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field
from pydantic.config import JsonDict

_HOW: JsonDict = {"how": True}


class DpoConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Direct Preference Optimization (arXiv 2305.18290, eq. 7)."""

    name: Literal["dpo"]
    beta: float = Field(default=0.1, gt=0)
    """Strength of the tie to the reference; higher keeps the policy closer to it."""


class SimpoConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """SimPO (arXiv 2405.14734, eq. 6): length-normalised and without a reference."""

    name: Literal["simpo"]
    beta: float = Field(default=2.0, ge=1, le=20)
    """Scale of the mean log-prob difference; the paper uses 2 to 10 (DPO's 0.1 would do next to nothing)."""
    gamma_beta_ratio: float = Field(default=0.5, ge=0, le=2)
    """Target margin gamma as a multiple of beta; the paper uses 0.1 to 0.8."""


LossConfig = Annotated[DpoConfig | SimpoConfig, Field(discriminator="name")]


class LoraConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Low-rank adapters on all linear layers instead of full weights (arXiv 2106.09685)."""

    rank: int = Field(default=16, ge=1)
    """Rank of the update; more can express more and needs more memory."""
    alpha: int = Field(default=32, ge=1)
    """Scale of the update over the rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of adapter inputs dropped while training."""


class TrainingConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """One round's training."""

    loss: LossConfig = DpoConfig(name="dpo")
    """The preference loss and its own hyper-parameters."""
    learning_rate: float = Field(default=5e-7, gt=0, allow_inf_nan=False)
    """Peak learning rate; `iteration.schedule.learning_rate` gives one a round."""
    lr_schedule: Literal["linear", "cosine", "constant"] = "cosine"
    """Shape of the decay after the warm-up."""
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in [0, 1) over which the learning rate rises."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the pairs."""
    batch_size: int = Field(default=32, ge=1)
    """Pairs per optimiser step."""
    micro_batch_size: int | None = Field(default=None, ge=1, json_schema_extra=_HOW)
    """Pairs computed at once, a divisor of batch_size; less needs less memory. Null takes batch_size."""
    max_length: int | None = Field(default=None, ge=8)
    """Most tokens of prompt and answer; longer pairs are dropped, never cut. Null takes the model's limit."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients above this norm are scaled down to it."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 computes in mixed precision; master weights stay float32."""
    gradient_checkpointing: bool = Field(default=False, json_schema_extra=_HOW)
    """Recompute activations in the backward pass: less memory, about 1.3 times the compute."""
    lora: LoraConfig | None = None
    """Train adapters instead of full weights; null trains everything."""
    reference: Literal["initial", "previous", "base", "ema"] = "initial"
    """The policy that DPO is tied to. initial: the run's start. previous: the round's start, which is the last good
    policy. base: the recipe's `policy`, also where a later run starts from another one. ema: an average of the run's
    start and the policies accepted since (arXiv 2404.09656, soft update between rounds); full weights only."""
    ema_weight: float = Field(default=0.6, gt=0, le=1)
    """Weight of a newly accepted policy in the average; 1 is `previous`. The paper's best value is 0.6."""
    threads: int = Field(default=2, ge=1, json_schema_extra=_HOW)
    """CPU threads."""
