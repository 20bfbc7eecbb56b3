"""What a filter says about pairs: which ones pass, what was measured and what it was held against."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]
Context = Literal["prompt", "chosen", "rejected", "none"]


@dataclass(frozen=True)
class Measured:
    """One reason for dropping pairs, applied to all of them.

    A filter gives one for each of its reasons; a pair is dropped for the first one that it does not pass.

    Attributes:
        keep: Whether each pair passes.
        values: What was measured for each pair, true wherever a pair is dropped; None where nothing is a number. Kept
            pairs whose value is closest to the threshold are shown as near misses.
        threshold: What the values were held against; None likewise.
        reason: Why those that do not pass are dropped, a snake_case literal.
        context: The text that the ledger quotes from; none where a quotation would give away what is filtered out.
    """

    keep: Bools
    values: Floats | None
    threshold: float | None
    reason: str
    context: Context = "chosen"
