"""What a recipe says about judges that are language models: rubric, pairwise, listwise, self."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from judging.engine_config import EngineConfig, OfflineConfig, ServerConfig

BUILT_IN_ASPECTS = ("helpfulness", "honesty", "instruction_following", "accuracy", "clarity", "safety")
"""Aspects whose rubric stands in the judge's template."""


class AspectConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """One thing that a judge looks at."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name in the scores' column `aspects`; helpfulness, honesty, instruction_following, accuracy, clarity and safety
    bring their own text."""
    rubric: str | None = Field(default=None, pattern=r"\S")
    """What is rated and what the ends of the scale mean; null takes the template's text for the name."""
    weight: float = Field(default=1.0, ge=1e-6, le=1e6)
    """Share in the score, from a millionth to a million: the score is the weighted mean of the aspects."""

    @model_validator(mode="after")
    def _has_text(self) -> "AspectConfig":
        if self.rubric is None and self.name not in BUILT_IN_ASPECTS:
            raise ValueError(
                f"aspect {self.name} has no rubric: write one (aspects.rubric), or name one that brings its own: "
                f"{', '.join(BUILT_IN_ASPECTS)}"
            )
        return self


class _ChatJudgeConfig(
    BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
):
    """What all language-model judges have in common."""

    template: Path | None = None
    """Jinja file with the judge's texts in place of the one that comes with it; its content is part of the key."""
    temperature: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Sampling temperature of the judge; with several samples above 0."""
    seed: int = Field(default=0, ge=0)
    """Seed of the judge's sampling; each question's own is made of it and of what is judged."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Tokens of a written reply or a rationale; a verdict read from log-probs is one token."""


class RubricConfig(_ChatJudgeConfig, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A language model that rates one answer at a time by a rubric."""

    kind: Literal["rubric"]
    engine: EngineConfig
    """How the model is reached."""
    aspects: list[AspectConfig] = Field(default=[AspectConfig(name="helpfulness")], min_length=1)
    """What is rated, each in a question of its own."""
    min_score: int = Field(default=1, ge=0)
    """Lowest rating."""
    max_score: int = Field(default=5, le=100)
    """Highest rating."""
    verdict: Literal["expected", "written", "json"] = "expected"
    """expected: the mean of the scale under the probabilities of the rating's token (G-Eval), finer than whole numbers
    and without ties; the server must give log-probs, and the model must not think first. written: a rationale, then a
    line `Score: N`. json: the same as a JSON object that the server enforces."""
    rationale: bool = False
    """With expected: the model explains itself in a call of its own before the one that gives the verdict."""
    constrained: bool = False
    """With expected: only ratings may be answered. Their probabilities then add up to 1, so min_mass only finds out a
    server that ignores the constraint."""
    min_mass: float = Field(default=0.8, ge=0, le=1)
    """With expected: share of the probability that ratings must have together; below it the answer is unscored."""
    n_samples: int = Field(default=1, ge=1, le=64)
    """With written and json: replies whose ratings are averaged; 20 stand in for log-probs where there are none. At
    least half must hold a rating, or the answer is unscored."""

    @model_validator(mode="after")
    def _fits(self) -> "RubricConfig":
        if self.min_score >= self.max_score:
            raise ValueError(f"min_score {self.min_score} must be below max_score {self.max_score}")
        if self.verdict == "expected" and (self.min_score < 1 or self.max_score > 9):
            raise ValueError(
                f"verdict expected reads one token, so ratings are single digits from 1 to 9, got {self.min_score} to "
                f"{self.max_score}: set min_score and max_score within them, or verdict to written"
            )
        if self.verdict == "expected" and self.n_samples > 1:
            raise ValueError("n_samples has no effect on verdict expected: leave it out, or set verdict to written")
        if self.verdict != "expected" and (self.rationale or self.constrained):
            raise ValueError(f"rationale and constrained belong to verdict expected; verdict is {self.verdict}")
        _check_constraint(self.engine, is_constrained=self.constrained)
        if self.n_samples > 1 and self.temperature == 0:
            raise ValueError(f"temperature 0 gives n_samples {self.n_samples} times the same reply: set temperature")
        names = [aspect.name for aspect in self.aspects]
        if len(set(names)) < len(names):
            raise ValueError(f"aspects must have different names, got {', '.join(names)}")
        return self


class SelfConfig(RubricConfig, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """The round's policy rates its own answers by a rubric."""

    kind: Literal["self"]  # type: ignore[assignment]  the tag of the union
    engine: OfflineConfig = OfflineConfig(name="vllm")  # type: ignore[assignment]
    """How the policy is run; its `model` is the round's policy."""


class PairwiseConfig(_ChatJudgeConfig, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A language model that compares two answers at a time, in both orders, and ranks those of a prompt."""

    kind: Literal["pairwise"]
    engine: EngineConfig
    """How the model is reached."""
    rubric: str | None = Field(default=None, pattern=r"\S")
    """What makes an answer the better one; null takes the text that comes with it."""
    verdict: Literal["expected", "written"] = "expected"
    """expected: the probability of A against B from the log-probs of one token. written: a rationale, then a line
    `Verdict: A`, `Verdict: B` or `Verdict: tie`."""
    rationale: bool = False
    """With expected: the model explains itself in a call of its own before the one that gives the verdict."""
    constrained: bool = False
    """With expected: only A and B may be answered, so min_mass only finds out a server that ignores it."""
    min_mass: float = Field(default=0.8, ge=0, le=1)
    """With expected: share of the probability that A and B must have together; below it the duel has no verdict."""
    schedule: Literal["swiss", "knockout", "round_robin"] = "swiss"
    """Who meets whom: swiss pairs answers of like strength for a few rounds, knockout finds the best and the worst,
    round_robin plays all."""
    rounds: int = Field(default=3, ge=1)
    """Rounds of swiss; more ranks finer and costs k calls each."""
    prior: float = Field(default=0.1, ge=0.01, allow_inf_nan=False)
    """Wins both ways that each pair of answers is given in the Bradley-Terry fit; higher pulls strengths together."""

    @model_validator(mode="after")
    def _fits(self) -> "PairwiseConfig":
        if self.verdict != "expected" and (self.rationale or self.constrained):
            raise ValueError(f"rationale and constrained belong to verdict expected; verdict is {self.verdict}")
        _check_constraint(self.engine, is_constrained=self.constrained)
        return self


class ListwiseConfig(_ChatJudgeConfig, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A language model that rates all answers of a prompt in one call, shuffled (UltraFeedback)."""

    kind: Literal["listwise"]
    engine: EngineConfig
    """How the model is reached."""
    rubric: str | None = Field(default=None, pattern=r"\S")
    """What is rated; null takes the text that comes with it."""
    min_score: int = Field(default=1, ge=0)
    """Lowest rating."""
    max_score: int = Field(default=5, le=100)
    """Highest rating."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """Tokens of a reply, which rates all answers of a prompt; more answers need more."""
    n_samples: int = Field(default=1, ge=1, le=64)
    """Calls with other shuffles whose ratings are averaged."""

    @model_validator(mode="after")
    def _two_ratings(self) -> "ListwiseConfig":
        if self.min_score >= self.max_score:
            raise ValueError(f"min_score {self.min_score} must be below max_score {self.max_score}")
        return self


def _check_constraint(engine: ServerConfig | OfflineConfig, *, is_constrained: bool) -> None:
    if is_constrained and isinstance(engine, ServerConfig) and engine.structured == "response_format":
        raise ValueError(
            "constrained offers texts to choose from, and engine.structured response_format takes JSON schemas only: "
            "set constrained to false (min_mass then guards), or structured to structured_outputs"
        )
