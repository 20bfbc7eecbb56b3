"""Drop pairs with an answer that the token limit cut off: a chosen one teaches to stop in mid-sentence.

Cut answers as rejected ones teach that long answers are bad, but dropping them costs pairs, so that is a choice.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import pyarrow as pa
import pyarrow.compute as pc

from filtering.config import TruncatedConfig
from filtering.measured import Bools, Measured


def find_truncated(pairs: pa.Table, config: TruncatedConfig) -> list[Measured]:
    """Look at the finish reasons; an unknown one passes."""
    keep = _is_whole(pairs["chosen_finish_reason"])
    if config.sides == "either":
        keep &= _is_whole(pairs["rejected_finish_reason"])
    return [Measured(keep, None, None, "truncated")]


def _is_whole(finish_reasons: pa.ChunkedArray) -> Bools:
    return pc.fill_null(pc.not_equal(finish_reasons, "length"), True).to_numpy()
