"""What a recipe says about judges that are models with numbers for answers: reward models, implicit rewards."""

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from judging.engine_config import HOW


class RewardModelConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A sequence-classification reward model with one output; the score is its raw logit."""

    kind: Literal["reward_model"]
    model: str
    """A folder with weights and tokenizer, or a model on the Hugging Face Hub."""
    revision: str | None = None
    """Hub commit or tag; a folder has none."""
    trust_remote_code: bool = False
    """Run code that the model's repository ships; only for models you trust."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What runs it: both give the same scores but for rounding; vllm is faster on many or long answers."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Number format; bfloat16 halves memory and makes more ties."""
    max_length: int | None = Field(default=None, ge=8)
    """Most tokens of prompt and answer; longer rows are unscored with reason too_long. Null takes the model's limit."""
    batch_size: int = Field(default=32, ge=1, json_schema_extra=HOW)
    """Texts scored at once."""
    kv_cache_mb: int | None = Field(default=None, ge=16, json_schema_extra=HOW)
    """With vllm: MiB for the key-value cache; null leaves it to vLLM on a GPU and takes 1024 on a CPU."""
    threads: int = Field(default=1, ge=1, json_schema_extra=HOW)
    """CPU threads."""


class CheckpointConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A language model whose log-probs are wanted."""

    role: Literal["good", "former", "initial", "base"] | None = None
    """One of the run's own policies: good is the last good one, from which the round samples; former the one before
    it; initial the run's start; base the recipe's `policy`."""
    model: str | None = None
    """Instead of a role: a folder with weights and tokenizer, or a model on the Hugging Face Hub."""
    revision: str | None = None
    """Hub commit or tag; a folder has none."""
    adapter: str | None = None
    """Folder with a LoRA adapter on top of the model."""
    trust_remote_code: bool = False
    """Run code that the model's repository ships; only for models you trust."""

    @model_validator(mode="after")
    def _one_model(self) -> "CheckpointConfig":
        if (self.role is None) == (self.model is None):
            raise ValueError("give one of `role` (good, former, initial or base) and `model`")
        return self


class ImplicitRewardConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """The reward that a DPO-trained policy stands for: beta * (log pi - log ref) of the whole answer (DICE)."""

    kind: Literal["implicit_reward"]
    policy: CheckpointConfig
    """The trained policy pi."""
    reference: CheckpointConfig
    """What it was trained against."""
    beta: float = Field(default=0.1, gt=0)
    """Factor on the difference of log-probs: the beta that the policy was trained with."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of both models, which are in memory together; bfloat16 halves that and is off by about 0.1 nats an
    answer."""
    batch_size: int = Field(default=8, ge=1, json_schema_extra=HOW)
    """Answers at once."""
    threads: int = Field(default=1, ge=1, json_schema_extra=HOW)
    """CPU threads."""

    @model_validator(mode="after")
    def _two_models(self) -> "ImplicitRewardConfig":
        if self.policy == self.reference:
            raise ValueError("policy and reference are the same model, so every reward would be 0: name another one")
        return self
