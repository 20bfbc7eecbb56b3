"""What a recipe says about judges that check instead of rating: a function, mathematics, rules."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator


class VerifierConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A Python function with TRL's reward-function signature."""

    kind: Literal["verifier"]
    function: str
    """Import path `package.module:function`; f(prompts=, completions=, **columns) gives a float or None a row."""
    version: int = 1
    """Raise it by hand when the function's answers change, so that stored scores are not reused."""

    @field_validator("function")
    @classmethod
    def _check_path(cls, function: str) -> str:
        module, _, name = function.partition(":")
        if not all(part.isidentifier() for part in [*module.split("."), name]):
            raise ValueError("function must read package.module:function")
        return function


class MathsConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Numeric answers compared by math-verify: 1 where the marked answer equals the reference, else 0."""

    kind: Literal["maths"]


class _Rule(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    name: str | None = Field(default=None, min_length=1)
    """Its name among the aspects of a score; null = its kind, with a number from the second of a kind on."""
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Its share in the score, relative to the other rules."""


class ExactMatchConfig(_Rule, frozen=True, use_attribute_docstrings=True):
    """The answer, or what is taken out of it, is the reference answer; without one the answer stays unscored."""

    rule: Literal["exact_match"]
    after: str | None = Field(default=None, min_length=1)
    """Compare the rest of the line after the last place where this text stands; an answer without it fails."""
    pattern: str | None = None
    """Compare what this regular expression matches last, its first group if it has one; an answer without it fails."""
    ignore_case: bool = True
    """Large and small letters are the same."""
    ignore_space: bool = True
    """White space at the ends does not count, and inside, any run of it is one space."""
    ignore_punctuation: bool = False
    """Punctuation and markup (., !, *, quotes) do not count."""

    @model_validator(mode="after")
    def _take_one_way(self) -> Self:
        if self.after is not None and self.pattern is not None:
            raise ValueError("after and pattern are two ways to take the answer out: give one of them")
        return self

    @field_validator("pattern")
    @classmethod
    def _compile(cls, pattern: str | None) -> str | None:
        return pattern if pattern is None else _check_pattern(pattern)


class RegexConfig(_Rule, frozen=True, use_attribute_docstrings=True):
    """A regular expression matches somewhere in the answer, or nowhere."""

    rule: Literal["regex"]
    pattern: str
    r"""In Python's syntax; `(?i)` ignores case, `(?m)` lets ^ and $ match at lines, `\A` and `\Z` are the ends."""
    must: Literal["match", "not_match"] = "match"
    """What the pattern has to do."""

    @field_validator("pattern")
    @classmethod
    def _compile(cls, pattern: str) -> str:
        return _check_pattern(pattern)


class JsonSchemaConfig(_Rule, frozen=True, use_attribute_docstrings=True):
    """The answer holds JSON that fits a schema."""

    rule: Literal["json_schema"]
    fits: dict[str, Any] | None = None
    """A JSON schema; null = any JSON will do. `format` is not checked, and `$ref` may only point into the schema."""
    path: Path | None = None
    """A file with the schema instead; it is read into `fits` when the recipe is, so that its content is in the key."""
    where: Literal["answer", "block", "either"] = "either"
    """answer: all of the answer is JSON; block: its last fenced ```json block; either: the answer, else the block."""

    @model_validator(mode="before")
    @classmethod
    def _read_file(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or fields.get("path") is None:
            return fields
        if fields.get("fits") is not None:
            raise ValueError("fits and path both give a schema: keep one of them")
        try:
            schema = json.loads(Path(fields["path"]).read_bytes())
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"path {fields['path']} cannot be read as a JSON schema: {error}") from error
        return fields | {"fits": schema, "path": None}

    @field_validator("fits")
    @classmethod
    def _check_schema(cls, fits: dict[str, Any] | None) -> dict[str, Any] | None:
        if fits is not None:
            from judging.checking.json_rule import check_schema

            check_schema(fits)
        return fits


class RangeConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """How many there may be."""

    min: int | None = Field(default=None, ge=0)
    """At least so many; null = no limit."""
    max: int | None = Field(default=None, ge=0)
    """At most so many; null = no limit."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        _check_range(self.min, self.max)
        return self


class LengthConfig(_Rule, frozen=True, use_attribute_docstrings=True):
    """The answer is neither too short nor too long; white space at its ends does not count."""

    rule: Literal["length"]
    unit: Literal["chars", "words", "sentences", "lines", "paragraphs"] = "words"
    """What is counted. words: between white space; sentences: ended by . ! ? or their like, a rough count; lines: those
    that are not blank; paragraphs: between blank lines."""
    min: int | None = Field(default=None, ge=0)
    """At least so many; null = no limit."""
    max: int | None = Field(default=None, ge=0)
    """At most so many; null = no limit."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        _check_range(self.min, self.max)
        return self


class FormatConfig(_Rule, frozen=True, use_attribute_docstrings=True):
    """The answer looks as asked: all that is set here has to hold. White space at its ends does not count."""

    rule: Literal["format"]
    starts_with: str | None = Field(default=None, min_length=1)
    """First text of the answer."""
    ends_with: str | None = Field(default=None, min_length=1)
    """Last text of the answer."""
    contains: list[Annotated[str, Field(min_length=1)]] = []
    """Texts that stand in the answer, every one of them."""
    lacks: list[Annotated[str, Field(min_length=1)]] = []
    """Texts of which none stands in the answer."""
    whole_words: bool = False
    """Texts of `contains` and `lacks` count only where no letter or digit touches them: `art` is not in `party`."""
    ignore_case: bool = False
    """Large and small letters are the same in the four fields above."""
    bullets: RangeConfig | None = None
    """Number of list lines with -, *, + or a bullet."""
    numbered: RangeConfig | None = None
    """Number of list lines with 1. or 1)."""
    headings: RangeConfig | None = None
    """Number of Markdown headings (#)."""
    code_blocks: RangeConfig | None = None
    """Number of fenced code blocks; nothing inside them counts as a list line or a heading."""
    placeholders: RangeConfig | None = None
    """Number of texts in square brackets, such as [name]."""
    markdown: Literal["any", "none"] = "any"
    """none: no headings, lists, bold, tables, links, code or quotations."""
    case: Literal["any", "upper", "lower"] = "any"
    """upper, lower: there are letters, and none of the other case."""
    script: Literal["any", "latin", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "thai", "han", "japanese",
                    "hangul"] = "any"  # fmt: skip
    """Script of at least nine letters in ten; an answer without letters fails. Languages that share a script cannot be
    told apart."""

    @model_validator(mode="after")
    def _ask_something(self) -> Self:
        asked = self.model_dump(exclude={"rule", "name", "weight", "whole_words", "ignore_case"}, exclude_defaults=True)
        if not asked:
            raise ValueError("a format rule needs a field that asks something, such as starts_with or bullets")
        return self


RuleConfig = Annotated[
    ExactMatchConfig | RegexConfig | JsonSchemaConfig | LengthConfig | FormatConfig, Field(discriminator="rule")
]


class RulesConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Rules that an answer meets or does not: the score is the weighted share of those met, in [0, 1]."""

    kind: Literal["rules"]
    rules: list[RuleConfig] = Field(min_length=1)
    """The rules; each is an aspect of the score, 1 if met, else 0."""
    all_or_nothing: bool = False
    """The score is 1 if every rule is met, else 0; no weights."""

    @property
    def names(self) -> list[str]:
        """Names of the rules, in their order."""
        seen: Counter[str] = Counter()
        names = []
        for rule in self.rules:
            seen[rule.rule] += rule.name is None
            numbered = rule.rule if seen[rule.rule] < 2 else f"{rule.rule}-{seen[rule.rule]}"
            names.append(rule.name or numbered)
        return names

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        double = [name for name, count in Counter(self.names).items() if count > 1]
        if double:
            raise ValueError(f"two rules are called {double[0]!r}: give each a name of its own")
        return self


def _check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    return pattern


def _check_range(low: int | None, high: int | None) -> None:
    if low is None and high is None:
        raise ValueError("give min, max or both")
    if low is not None and high is not None and low > high:
        raise ValueError(f"min {low} is above max {high}: nothing can meet that")
