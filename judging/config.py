"""What a recipe says about judges and about making pairs from their scores.

Fields marked `how` change speed or memory, never an answer, so they stay out of the cache key.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator
from pydantic.config import JsonDict

_HOW: JsonDict = {"how": True}


class RewardModelConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A sequence-classification reward model with one output, run by transformers; the score is its raw logit."""

    kind: Literal["reward_model"]
    model: str
    """A folder with weights and tokenizer, or a model on the Hugging Face Hub."""
    revision: str | None = None
    """Hub commit or tag; a folder has none."""
    trust_remote_code: bool = False
    """Run code that the model's repository ships; only for models you trust."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Number format; bfloat16 halves memory and makes more ties."""
    max_length: int | None = Field(default=None, ge=8)
    """Most tokens of prompt and answer; longer rows are unscored with reason too_long. Null takes the model's limit."""
    batch_size: int = Field(default=32, ge=1, json_schema_extra=_HOW)
    """Texts scored at once."""
    threads: int = Field(default=1, ge=1, json_schema_extra=_HOW)
    """CPU threads."""


class VerifierConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A Python function with TRL's reward-function signature."""

    kind: Literal["verifier"]
    function: str
    """Import path `package.module:function`; f(prompts=, completions=, **columns) gives a float or None a row."""
    version: int = 1
    """Raise it by hand when the function's answers change, so that stored scores are not reused."""


class MathsConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Numeric answers compared by math-verify: 1 where the marked answer equals the reference, else 0."""

    kind: Literal["maths"]


def _plain_address(address: str) -> str:
    """Refuse what may carry a password or key; neither is repeated."""
    if re.search("[@?#]", address):
        raise ValueError(
            "the address carries a user name, password or query: give it up to its path, such as "
            "http://127.0.0.1:8000/v1, and the name of a variable that holds the key as api_key_env"
        )
    return address


def _variable_name(name: str) -> str:
    """Refuse what is no name of a variable without repeating it: people put the key itself there."""
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("this is no name of an environment variable: put the key into one and give its name here")
    return name


_Address = Annotated[str, AfterValidator(_plain_address)]
_VariableName = Annotated[str, AfterValidator(_variable_name)]


class RubricConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True):
    """A pointwise language-model judge behind an OpenAI-compatible server."""

    kind: Literal["rubric"]
    base_url: _Address
    """Address of the server, such as http://127.0.0.1:8000/v1."""
    model: str
    """Name of the model on that server."""
    api_key_env: _VariableName | None = Field(default=None, json_schema_extra=_HOW)
    """Name of the environment variable that holds the API key."""
    rubric: str = "Rate how helpful, correct and clear the answer is."
    """What the judge is asked to rate."""
    min_score: int = 1
    """Lowest rating the judge may give."""
    max_score: int = 5
    """Highest rating the judge may give."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature of the judge."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Tokens a verdict may have."""
    concurrency: int = Field(default=16, ge=1, json_schema_extra=_HOW)
    """Requests in flight."""
    timeout_s: float = Field(default=120.0, gt=0, json_schema_extra=_HOW)
    """Seconds one request may take before it is tried again."""
    max_retries: int = Field(default=5, ge=0, json_schema_extra=_HOW)
    """Tries after the first one for a request that failed in a way that can heal."""

    @model_validator(mode="after")
    def _two_ratings(self) -> "RubricConfig":
        if self.min_score >= self.max_score:
            raise ValueError(f"min_score {self.min_score} must be below max_score {self.max_score}")
        return self


class RecordedConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Scores brought from elsewhere."""

    kind: Literal["recorded"]
    path: Path
    """Parquet or JSONL with `score` and either `candidate_id` or both `prompt` and `response`."""


JudgeConfig = Annotated[
    RewardModelConfig | VerifierConfig | MathsConfig | RubricConfig | RecordedConfig, Field(discriminator="kind")
]


class PairingConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """How scored candidates become pairs."""

    rule: Literal["best_worst"] = "best_worst"
    """best_worst takes the highest and the lowest score of a prompt, as in Iterative DPO."""
    min_margin: float = Field(default=0.0, ge=0)
    """Pairs need a score difference above this; 0 drops only ties. Unit: the judge's score."""
    length_control: Literal["none", "fitted"] = "none"
    """fitted takes a price for each character off the scores before it pairs, the one at which a round's chosen and
    rejected answers have one mean length (DICE); pairs whose chosen answer then has no higher score are dropped."""


class JudgingConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Scoring and pairing of candidates."""

    annotator: JudgeConfig
    """The judge whose scores make the pairs."""
    pairing: PairingConfig = PairingConfig()
    """How scores become pairs."""
    max_unscored_share: float = Field(default=0.1, ge=0, le=1)
    """Share of candidates in [0, 1] that may stay unscored before the stage stops with an error."""
