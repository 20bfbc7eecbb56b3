"""Drop pairs with a text that is too short or too long, or with texts of very different length.

Lengths are characters without the white space at both ends.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filtering.config import LengthConfig
from filtering.measured import Floats, Measured


def find_odd_lengths(pairs: pa.Table, config: LengthConfig) -> list[Measured]:
    """Measure the shorter text, the longer text and their ratio."""
    chosen, rejected = _lengths(pairs["chosen"]), _lengths(pairs["rejected"])
    shorter, longer = np.minimum(chosen, rejected), np.maximum(chosen, rejected)
    found = [Measured(shorter >= config.min_chars, shorter, config.min_chars, "too_short")]
    if config.max_chars is not None:
        found.append(Measured(longer <= config.max_chars, longer, config.max_chars, "too_long"))
    if config.max_ratio is not None:
        # An empty text beside one that is not has an infinite ratio; two empty ones are of equal length.
        ratio = np.divide(longer, shorter, out=np.where(longer > 0, np.inf, 1.0), where=shorter > 0)
        found.append(Measured(ratio <= config.max_ratio, ratio, config.max_ratio, "length_ratio"))
    return found


def _lengths(texts: pa.ChunkedArray) -> Floats:
    return pc.utf8_length(pc.utf8_trim_whitespace(texts)).to_numpy().astype(np.float64)
