"""What a recipe says about filters: a list, applied in its order, each with its thresholds."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator


class IdenticalConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Drop pairs whose two texts are equal after Unicode NFKC and white-space normalisation."""

    name: Literal["identical"]


class SimilarityConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Drop pairs whose two texts say nearly the same (rapidfuzz's normalised Indel similarity)."""

    name: Literal["similarity"]
    max_similarity: float = Field(default=0.9, ge=0, le=1)
    """Highest similarity in [0, 1] that is kept; lower drops more pairs."""


class LengthConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
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


class TruncatedConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Drop pairs whose chosen answer was cut by the token limit; an unknown finish reason passes."""

    name: Literal["truncated"]
    sides: Literal["chosen", "either"] = "chosen"
    """Which side must be whole."""


class DuplicatesConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Keep one of several pairs with the same prompt and the same two texts: the one with the largest margin."""

    name: Literal["duplicates"]


FilterConfig = Annotated[
    IdenticalConfig | SimilarityConfig | LengthConfig | TruncatedConfig | DuplicatesConfig, Field(discriminator="name")
]

_STANDARD: list[FilterConfig] = [
    IdenticalConfig(name="identical"),
    TruncatedConfig(name="truncated"),
    LengthConfig(name="length"),
    DuplicatesConfig(name="duplicates"),
    SimilarityConfig(name="similarity"),
]


class FilteringConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """The filters of a recipe."""

    filters: list[FilterConfig] = _STANDARD
    """Applied in this order; a pair is dropped by the first one that objects. Put cheap ones first."""
