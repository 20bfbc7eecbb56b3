"""Drop pairs on which the judge disagrees with itself: members of a panel, votes or orders of the answers.

A pair's `uncertainty` is that of its margin, the root of the sum of both scores' squared ones, so that margin over
uncertainty is a z-score: at 1 about one pair in six is the wrong way round if errors are normal, at 2 one in forty.
A panel's spread (arXiv 2404.18796), or a verdict that flips with the order of the answers, is such a sign: of released
verdicts 31 to 50 % flip. That dropping them trains better is not measured. Soft labels in place of drops are left out,
since training reads none.
"""

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from filtering.filter import Facts, Filter, FilterConfig
from filtering.measured import Measured


class UncertaintyConfig(FilterConfig, frozen=True):
    """Drop pairs whose judge is too uncertain of the margin."""

    name: Literal["uncertainty"]
    max_uncertainty: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Highest uncertainty of the margin that is kept, in units of the score; null sets no limit."""
    max_ratio: float | None = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Highest uncertainty over margin that is kept; lower drops more pairs, null sets no limit."""
    unknown: Literal["keep", "drop"] = "keep"
    """What becomes of pairs whose uncertainty, or margin where `max_ratio` asks for it, is not known."""

    @model_validator(mode="after")
    def _has_a_limit(self) -> "UncertaintyConfig":
        if self.max_uncertainty is None and self.max_ratio is None:
            raise ValueError("max_uncertainty and max_ratio are both null, so nothing is dropped: give one of them")
        return self


def measure(pairs: pa.Table, _: UncertaintyConfig) -> pa.Table:
    """Give the uncertainties and margins; NaN = unknown."""
    return pa.table({name: pairs[name].to_numpy().astype(np.float64) for name in ("uncertainty", "margin")})


def decide(facts: Facts, config: UncertaintyConfig) -> list[Measured]:
    """Hold the uncertainty, and its ratio to the margin, against the limits."""
    uncertainty, margin = facts.floats("uncertainty"), facts.floats("margin")
    found, unknown = list[Measured](), np.isnan(uncertainty)
    if (most := config.max_uncertainty) is not None:
        found.append(Measured(unknown | (uncertainty <= most), uncertainty, most, "uncertain"))
    if (most := config.max_ratio) is not None:
        # A judge that is sure of a tie does not disagree with itself; `margin` is the filter of ties.
        ratio = np.where(uncertainty > 0, np.inf, 0.0)
        with np.errstate(over="ignore"):
            np.divide(uncertainty, margin, out=ratio, where=(margin > 0) & np.isfinite(uncertainty))
        unknown |= np.isnan(margin)
        found.append(Measured(unknown | (ratio <= most), ratio, most, "uncertain_margin"))
    if config.unknown == "drop":
        found.append(Measured(~unknown, None, None, "unknown_uncertainty"))
    return found


UNCERTAINTY = Filter(UncertaintyConfig, ("uncertainty", "margin"), measure, decide)
