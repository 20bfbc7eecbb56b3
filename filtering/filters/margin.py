"""Drop pairs whose margin is outside of a band: ties teach noise, and huge gaps teach what the policy knows already.

A margin of 0 or less says that the chosen answer is no better; published sets hold such rows, since several tools pair
equal scores. RIP (arXiv 2501.18578) and arXiv 2508.04149 find that small gaps train better than large ones, so there is
an upper limit to try, without a default: the unit is the judge's own.
"""

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from filtering.filter import Facts, Filter, FilterConfig
from filtering.measured import Measured


class MarginConfig(FilterConfig, frozen=True):
    """Drop pairs whose margin, in units of the score, is too small or too large."""

    name: Literal["margin"]
    min_margin: float = Field(default=0.0, allow_inf_nan=False)
    """The margin has to be above this; 0 drops ties and pairs that are the wrong way round."""
    max_margin: float | None = Field(default=None, allow_inf_nan=False)
    """The margin may be at most this; null sets no limit."""
    unknown: Literal["keep", "drop"] = "keep"
    """What becomes of pairs without a margin."""

    @model_validator(mode="after")
    def _some_margin_fits(self) -> "MarginConfig":
        if self.max_margin is not None and self.max_margin <= self.min_margin:
            raise ValueError(
                f"max_margin {self.max_margin} is not above min_margin {self.min_margin}: every pair would be dropped"
            )
        return self


def measure(pairs: pa.Table, _: MarginConfig) -> pa.Table:
    """Give the margins; NaN = unknown."""
    return pa.table({"margin": pairs["margin"].to_numpy().astype(np.float64)})


def decide(facts: Facts, config: MarginConfig) -> list[Measured]:
    """Keep margins within the band."""
    margin = facts.floats("margin")
    unknown = np.isnan(margin)
    found = [Measured(unknown | (margin > config.min_margin), margin, config.min_margin, "min_margin")]
    if config.max_margin is not None:
        found.append(Measured(unknown | (margin <= config.max_margin), margin, config.max_margin, "max_margin"))
    if config.unknown == "drop":
        found.append(Measured(~unknown, None, None, "unknown_margin"))
    return found


MARGIN = Filter(MarginConfig, ("margin",), measure, decide)
