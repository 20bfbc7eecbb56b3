"""Drop pairs with an answer that the token limit cut off: a chosen one teaches to stop in mid-sentence.

Cut answers as rejected ones teach that long answers are bad, but dropping them costs pairs, so that is a choice.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from filtering.filter import Facts, Filter, FilterConfig
from filtering.measured import Measured


class TruncatedConfig(FilterConfig, frozen=True):
    """Drop pairs whose chosen answer was cut by the token limit; an unknown finish reason passes."""

    name: Literal["truncated"]
    sides: Literal["chosen", "either"] = "chosen"
    """Which side must be whole."""


def measure(pairs: pa.Table, _: TruncatedConfig) -> pa.Table:
    """Look at the finish reasons; an unknown one passes."""
    return pa.table({side: _is_whole(pairs[f"{side}_finish_reason"]) for side in ("chosen", "rejected")})


def decide(facts: Facts, config: TruncatedConfig) -> list[Measured]:
    """Keep pairs with whole sides."""
    keep = facts["chosen"] & facts["rejected"] if config.sides == "either" else facts["chosen"]
    return [Measured(keep, None, None, "truncated")]


def _is_whole(finish_reasons: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.not_equal(finish_reasons, "length"), True)


TRUNCATED = Filter(TruncatedConfig, ("chosen_finish_reason", "rejected_finish_reason"), measure, decide)
