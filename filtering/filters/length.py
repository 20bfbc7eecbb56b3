"""Drop pairs with a text that is too short or too long, or with texts of very different length.

Lengths are characters without the white space at both ends.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from filtering.filter import Facts, Filter, FilterConfig
from filtering.measured import Measured


class LengthConfig(FilterConfig, frozen=True):
    """Drop pairs with a side that is too short or too long, or sides of very different length."""

    name: Literal["length"]
    min_chars: int = Field(default=1, ge=0)
    """Fewest characters a side may have, white space at the ends not counted."""
    max_chars: int | None = Field(default=None, ge=1)
    """Most characters a side may have; null sets no limit."""
    max_ratio: float | None = Field(default=None, gt=1)
    """Highest length of the longer side over that of the shorter one; null sets no limit."""

    @model_validator(mode="after")
    def _some_length_fits(self) -> "LengthConfig":
        if self.max_chars is not None and self.max_chars < self.min_chars:
            raise ValueError(
                f"max_chars {self.max_chars} is below min_chars {self.min_chars}: every pair would be dropped"
            )
        return self


def measure(pairs: pa.Table, _: LengthConfig) -> pa.Table:
    """Count the characters of both texts."""
    return pa.table({side: _lengths(pairs[side]) for side in ("chosen", "rejected")})


def decide(facts: Facts, config: LengthConfig) -> list[Measured]:
    """Hold the shorter text, the longer text and their ratio against the limits."""
    chosen, rejected = facts.floats("chosen"), facts.floats("rejected")
    shorter, longer = np.minimum(chosen, rejected), np.maximum(chosen, rejected)
    found = [Measured(shorter >= config.min_chars, shorter, config.min_chars, "too_short")]
    if config.max_chars is not None:
        found.append(Measured(longer <= config.max_chars, longer, config.max_chars, "too_long"))
    if config.max_ratio is not None:
        # An empty text beside one that is not has an infinite ratio; two empty ones are of equal length.
        ratio = np.divide(longer, shorter, out=np.where(longer > 0, np.inf, 1.0), where=shorter > 0)
        found.append(Measured(ratio <= config.max_ratio, ratio, config.max_ratio, "length_ratio"))
    return found


def _lengths(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_length(pc.utf8_trim_whitespace(texts))


LENGTH = Filter(LengthConfig, ("chosen", "rejected"), measure, decide)
