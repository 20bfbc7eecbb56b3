"""What a recipe says about judging: which judge, and how its scores become pairs.

Fields marked `how` change speed, cost or memory, never an answer, so they stay out of the cache key.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from judging.chat_config import ListwiseConfig, PairwiseConfig, RubricConfig, SelfConfig
from judging.model_config import ImplicitRewardConfig, RewardModelConfig
from judging.pairing.pairing_config import PairingConfig
from judging.verifier_config import MathsConfig, RulesConfig, VerifierConfig


class RecordedConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Scores brought from elsewhere."""

    kind: Literal["recorded"]
    path: Path
    """Parquet or JSONL with `score` and either `candidate_id` or both `prompt` and `response`; `aspects`,
    `uncertainty`, `rationale` and `reason` are taken where they are there."""


SingleJudgeConfig = Annotated[
    RewardModelConfig
    | ImplicitRewardConfig
    | VerifierConfig
    | MathsConfig
    | RulesConfig
    | RubricConfig
    | SelfConfig
    | PairwiseConfig
    | ListwiseConfig
    | RecordedConfig,
    Field(discriminator="kind"),
]


class MemberConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True):
    """One judge of a panel."""

    judge: SingleJudgeConfig
    """The judge."""
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Its share in the panel's score, relative to the other members."""


class PanelConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True):
    """Several judges whose opinions are put on one scale within each prompt and joined (PoLL)."""

    kind: Literal["panel"]
    members: list[MemberConfig] = Field(min_length=2)
    """The judges; of different families they share fewer faults."""
    combine: Literal["mean", "majority"] = "mean"
    """mean of the members' z-scores within a prompt; majority: the share of members that put the answer above the
    median of its prompt, half a vote where it is on it."""
    min_members: int | None = Field(default=None, ge=1)
    """Members that must have scored an answer; null = all of them. A lower number leaves fewer answers unscored."""

    @model_validator(mode="after")
    def _check_min_members(self) -> Self:
        if self.min_members is not None and self.min_members > len(self.members):
            raise ValueError(f"min_members is {self.min_members}, and there are only {len(self.members)} members")
        return self


JudgeConfig = Annotated[SingleJudgeConfig | PanelConfig, Field(discriminator="kind")]
JUDGE_KINDS = (
    "reward_model", "implicit_reward", "verifier", "maths", "rules", "rubric", "self", "pairwise", "listwise",
    "recorded", "panel",
)  # fmt: skip

# Scores of these are relative to the other answers of the prompt, so all of them are judged together.
COMPARING = (PairwiseConfig, ListwiseConfig, PanelConfig)


class JudgingConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True):
    """Scoring and pairing of candidates."""

    annotator: JudgeConfig
    """The judge whose scores make the pairs."""
    pairing: PairingConfig = PairingConfig()
    """How scores become pairs."""
    max_unscored: float = Field(default=0.05, ge=0, le=1)
    """Share of candidates in [0, 1] that may stay unscored before the stage stops with an error."""
