"""Drop pairs with a text that is too short or too long, or with texts of very different length.

Preference training on pairs whose chosen side is mostly the longer one teaches length: DPO's answers grow far beyond
those of its data (R-DPO, arXiv 2403.19159). How far the sides of all pairs are apart as a whole, the funnel tells;
a gap within +-5 % of the rejected side's length is what DICE's length-shaped rewards (arXiv 2406.09760) aim at.

Characters are Unicode code points without the white space at both ends; words are what stands between white space, so
Chinese or Thai sentences are one word; tokens are the generator's own, as many as its ids. Left out: the length in
tokens of another tokenizer than the generator's.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from typing import Any, Literal, Self  # Any: JSON values

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field, model_validator

from filtering.filter import Facts, Filter, FilterConfig
from filtering.measured import Floats, Measured

Side = Literal["chosen", "rejected"]
SIDES: tuple[Side, Side] = ("chosen", "rejected")
UNKNOWN = -1


class Limits(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Limits of one side, in the filter's unit."""

    min: int = Field(default=0, ge=0)
    """Least length."""
    max: int | None = Field(default=None, ge=1)
    """Greatest length; null sets no limit."""

    @model_validator(mode="after")
    def _some_length_fits(self) -> Self:
        if self.max is not None and self.max < self.min:
            raise ValueError(f"max {self.max} is below min {self.min}: every pair would be dropped")
        return self


class LengthConfig(FilterConfig, frozen=True):
    """Drop pairs with a side that is too short or too long, or sides of very different length."""

    name: Literal["length"]
    min_chars: int = Field(default=1, ge=0)
    """Fewest characters a side may have, white space at the ends not counted, whatever the unit."""
    max_chars: int | None = Field(default=None, ge=1)
    """Most characters a side may have, whatever the unit; null sets no limit."""
    unit: Literal["chars", "tokens", "words"] = "chars"
    """What the fields below count; tokens drops pairs without token ids (`no_token_ids`)."""
    chosen: Limits = Limits()
    """Limits of the chosen side, {min: 50} for example."""
    rejected: Limits = Limits()
    """Limits of the rejected side, {min: 20} for example."""
    max_ratio: float | None = Field(default=None, gt=1)
    """Highest length of the longer side over that of the shorter one, 3 keeps chosen / rejected in [1/3, 3]; null sets
    no limit."""

    @model_validator(mode="after")
    def _some_length_fits(self) -> Self:
        if self.max_chars is not None and self.max_chars < self.min_chars:
            raise ValueError(
                f"max_chars {self.max_chars} is below min_chars {self.min_chars}: every pair would be dropped"
            )
        return self


def measured_by(config: LengthConfig) -> dict[str, Any]:
    """Characters are always counted, words and tokens where they are asked for."""
    return {"unit": config.unit}


def measure(pairs: pa.Table, config: LengthConfig) -> pa.Table:
    """Measure both texts in characters and in the unit; UNKNOWN = a side has no token ids."""
    lengths = {f"{side}_chars": _chars(pairs[side]) for side in SIDES}
    for side in SIDES:
        if config.unit == "tokens":
            lengths[f"{side}_tokens"] = pc.fill_null(pc.list_value_length(pairs[f"{side}_token_ids"]), UNKNOWN)
        elif config.unit == "words":
            lengths[f"{side}_words"] = _words(pairs[side])
    return pa.table(lengths)


def decide(facts: Facts, config: LengthConfig) -> list[Measured]:
    """Hold each text and the ratio of both against the limits."""
    shorter_chars, longer_chars, _ = _both(facts, "chars")
    found = [Measured(shorter_chars >= config.min_chars, shorter_chars, config.min_chars, "too_short")]
    if config.max_chars is not None:
        found.append(Measured(longer_chars <= config.max_chars, longer_chars, config.max_chars, "too_long"))
    shorter, _, ratio = _both(facts, config.unit)
    if config.unit == "tokens":
        found.append(Measured(shorter != UNKNOWN, None, None, "no_token_ids"))
    found += _within(facts.floats(f"chosen_{config.unit}"), config.chosen, "chosen")
    found += _within(facts.floats(f"rejected_{config.unit}"), config.rejected, "rejected")
    if config.max_ratio is not None:
        found.append(Measured(ratio <= config.max_ratio, ratio, config.max_ratio, "length_ratio"))
    return found


def _within(lengths: Floats, limits: Limits, side: Side) -> list[Measured]:
    found = list[Measured]()
    if limits.min:
        found.append(Measured(lengths >= limits.min, lengths, limits.min, f"{side}_too_short", side))
    if limits.max is not None:
        found.append(Measured(lengths <= limits.max, lengths, limits.max, f"{side}_too_long", side))
    return found


def _both(facts: Facts, unit: str) -> tuple[Floats, Floats, Floats]:
    """Give the shorter length, the longer one and their ratio."""
    chosen, rejected = facts.floats(f"chosen_{unit}"), facts.floats(f"rejected_{unit}")
    shorter, longer = np.minimum(chosen, rejected), np.maximum(chosen, rejected)
    # An empty text beside one that is not has an infinite ratio; two empty ones are of equal length.
    return shorter, longer, np.divide(longer, shorter, out=np.where(longer > 0, np.inf, 1.0), where=shorter > 0)


def _chars(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_length(pc.utf8_trim_whitespace(texts))


def _words(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(texts)
    words = pc.list_value_length(pc.utf8_split_whitespace(trimmed))
    return pc.if_else(pc.equal(trimmed, ""), 0, words)


LENGTH = Filter(
    LengthConfig,
    ("chosen", "rejected", "chosen_token_ids", "rejected_token_ids"),
    measure,
    decide,
    measured_by,
    version=2,
)
