"""Keep pairs of good prompts: whose worst answer is still good and long, and not far behind the best one.

RIP (arXiv 2501.18578) keeps prompts with a high score of the rejected answer, a long rejected answer and a small gap:
hard-to-read or hopeless prompts yield low and scattered ones. 20,000 WildChat prompts became 4,500, and AlpacaEval 2's
length-controlled win rate rose from 48.4 to 57.8 %. `min_score_std` goes the other way: where all of a prompt's answers
score nearly the same there is little to learn. Each pair stands for its prompt, as in RIP, which makes one of each;
Self-RIP, which writes new prompts from kept ones, is left out.

A quantile is taken over the pairs that come into this filter, so it means the same share for every judge, but filtering
what was kept takes that share again. Numbers don't: the ledger's thresholds are what the quantiles came to.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field, model_validator

from filtering.filter import Facts, Filter, FilterConfig
from filtering.measured import Floats, Measured


class Quantile(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A threshold at a share of the pairs that come in."""

    quantile: float = Field(gt=0, lt=1)
    """Share of the pairs with a known value that is at or below the threshold."""


Number = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PromptSelectionConfig(FilterConfig, frozen=True):
    """Drop pairs of prompts that teach little, by RIP's signs; each limit is a number or `{quantile: 0.5}`."""

    name: Literal["prompt_selection"]
    min_rejected_score: Number | Quantile | None = None
    """Lowest score of the rejected answer that is kept; raising it drops more pairs, null sets no limit."""
    min_rejected_chars: NotNegative | Quantile | None = None
    """Fewest characters of the rejected answer, white space at the ends not counted; null sets no limit."""
    max_margin: NotNegative | Quantile | None = None
    """Largest margin that is kept; lowering it drops more pairs, null sets no limit."""
    min_score_std: NotNegative | Quantile | None = None
    """Lowest standard deviation of the scores of a prompt's candidates that is kept; null sets no limit."""
    unknown: Literal["keep", "drop"] = "keep"
    """What becomes of pairs without a value that a limit asks for."""

    @model_validator(mode="after")
    def _has_a_limit(self) -> "PromptSelectionConfig":
        limits = (self.min_rejected_score, self.min_rejected_chars, self.max_margin, self.min_score_std)
        if all(limit is None for limit in limits):
            raise ValueError(
                "every limit is null, so nothing is dropped: give one of min_rejected_score, min_rejected_chars, "
                "max_margin and min_score_std, such as {quantile: 0.5}"
            )
        return self


def measure(pairs: pa.Table, _: PromptSelectionConfig) -> pa.Table:
    """Give what the limits ask for; NaN = unknown."""
    columns = {name: pairs[name].to_numpy().astype(np.float64) for name in ("rejected_score", "margin", "score_std")}
    return pa.table(columns | {"rejected_chars": pc.utf8_length(pc.utf8_trim_whitespace(pairs["rejected"]))})


def decide(facts: Facts, config: PromptSelectionConfig) -> list[Measured]:
    """Hold each value against its limit; all quantiles are of the same pairs."""
    found, unknown = list[Measured](), np.zeros(len(facts), dtype=bool)
    for column, limit, sign, reason in (
        ("rejected_score", config.min_rejected_score, 1, "low_rejected_score"),
        ("rejected_chars", config.min_rejected_chars, 1, "short_rejected"),
        ("margin", config.max_margin, -1, "wide_margin"),
        ("score_std", config.min_score_std, 1, "low_score_std"),
    ):
        if limit is None:
            continue
        values = facts.floats(column)
        is_unknown = np.isnan(values)
        unknown |= is_unknown
        threshold = _threshold(values[~is_unknown], limit)
        keep = is_unknown | (sign * values >= sign * threshold)
        found.append(Measured(keep, values, threshold, reason, "prompt"))
    if config.unknown == "drop":
        found.append(Measured(~unknown, None, None, "unknown_score", "prompt"))
    return found


def _threshold(known: Floats, limit: float | Quantile) -> float:
    if not isinstance(limit, Quantile):
        return limit
    # One of the values, so that equal values stay together; without any there is nothing to hold against it.
    # Adding 0 makes 0 of -0, which of the two is in the middle hangs on the order of rows.
    return float(np.quantile(known, limit.quantile, method="inverted_cdf")) + 0.0 if known.size else 0.0


PROMPT_SELECTION = Filter(PromptSelectionConfig, ("rejected_score", "rejected", "margin", "score_std"), measure, decide)
