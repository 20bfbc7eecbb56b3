"""What a recipe says about comparing the new policy with the old one, and about the gate."""

from typing import Literal

from pydantic import BaseModel, Field, model_validator


class GateConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """When the new policy replaces the old one.

    Both presets refuse when the Goodhart flag is up: the annotator that labelled the pairs rates the new policy higher
    while the independent judge rates it significantly lower.
    """

    preset: Literal["demo", "standard"] = "standard"
    """demo: mean judge score up. standard: win rate significantly above 0.5 and length ratio in bounds."""
    min_length_ratio: float = Field(default=0.8, gt=0)
    """Lowest mean length of the new answers over the old ones (standard)."""
    max_length_ratio: float = Field(default=1.25, gt=0)
    """Highest such ratio (standard)."""

    @model_validator(mode="after")
    def _some_ratio_fits(self) -> "GateConfig":
        if self.min_length_ratio > self.max_length_ratio:
            raise ValueError(
                f"min_length_ratio {self.min_length_ratio} is above max_length_ratio {self.max_length_ratio}: "
                "no policy could pass"
            )
        return self


class EvaluationConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Comparison on held-out prompts."""

    k: int = Field(default=1, ge=1)
    """Answers per held-out prompt and policy; more narrows the interval less than more prompts do."""
    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature for the comparison; null takes generation's."""
    max_prompts: int | None = Field(default=None, ge=1)
    """Compare on at most so many held-out prompts."""
    pass_score: float | None = None
    """Answers that score at least this count as passed; null leaves the share of passes out."""
    n_bootstrap: int = Field(default=2000, ge=100)
    """Resamples of prompts behind each interval."""
    gate: GateConfig = GateConfig()
    """When the new policy is accepted."""
