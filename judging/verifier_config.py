"""What a recipe says about judges that check instead of rating: a function, mathematics, rules."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field




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


class ExactMatchConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """The answer is the reference answer."""

    rule: Literal["exact_match"]


RuleConfig = Annotated[ExactMatchConfig, Field(discriminator="rule")]


class RulesConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Rules that an answer meets or does not: the score is the weighted share of those met."""

    kind: Literal["rules"]
    rules: list[RuleConfig] = Field(min_length=1)
    """The rules."""
