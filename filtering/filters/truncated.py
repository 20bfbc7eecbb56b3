"""Drop pairs with an answer that the token limit cut off: a chosen one teaches to stop in mid-sentence.

Cut answers as rejected ones teach that to stop is to lose once there are many of them, so `max_rejected_share` sets how
large a share of the rejected answers may be cut; 0.1 is what practitioners name. Dropping them costs pairs, often the
hardest prompts', so the default allows all. Left out: telling from the text whether an answer of unknown finish reason
was cut.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from filtering.filter import Facts, Filter, FilterConfig
from filtering.measured import Measured
from filtering.ranks import cap_share


class TruncatedConfig(FilterConfig, frozen=True):
    """Drop pairs whose chosen answer was cut by the token limit; an unknown finish reason passes."""

    name: Literal["truncated"]
    sides: Literal["chosen", "either"] = "chosen"
    """Which side must be whole."""
    max_rejected_share: float = Field(default=1.0, ge=0, le=1)
    """Largest share of cut answers among the rejected ones that this filter keeps, in [0, 1]; of more, those with the
    largest margins stay. Lower drops more pairs, 1 none."""


def measure(pairs: pa.Table, _: TruncatedConfig) -> pa.Table:
    """Look at the finish reasons; an unknown one passes."""
    return pa.table({side: _is_whole(pairs[f"{side}_finish_reason"]) for side in ("chosen", "rejected")})


def decide(facts: Facts, config: TruncatedConfig) -> list[Measured]:
    """Keep pairs with whole sides, and as many cut rejected ones as are allowed."""
    chosen, rejected = facts["chosen"], facts["rejected"]
    found = [Measured(chosen & rejected if config.sides == "either" else chosen, None, None, "truncated")]
    if config.sides == "chosen" and config.max_rejected_share < 1:
        n_whole, most = int((chosen & rejected).sum()), config.max_rejected_share
        found.append(
            cap_share(chosen & ~rejected, n_whole, facts.best_first, most, "rejected_truncated_share", "rejected")
        )
    return found


def _is_whole(finish_reasons: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.not_equal(finish_reasons, "length"), True)


TRUNCATED = Filter(TruncatedConfig, ("chosen_finish_reason", "rejected_finish_reason"), measure, decide)
