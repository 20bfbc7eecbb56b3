"""Drop pairs whose two texts are equal but for Unicode forms and white space: there is nothing to prefer."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import pyarrow as pa
import pyarrow.compute as pc

from filtering.config import IdenticalConfig
from filtering.measured import Measured


def find_identical(pairs: pa.Table, _: IdenticalConfig) -> list[Measured]:
    """Compare the texts after NFKC normalisation, with each run of white space as one space."""
    differs = pc.not_equal(normalise(pairs["chosen"]), normalise(pairs["rejected"]))
    return [Measured(differs.to_numpy(), None, None, "identical")]


def normalise(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give each text in NFKC form, trimmed, with each run of white space as one space."""
    words = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pc.utf8_normalize(texts, "NFKC")))
    return pc.binary_join(words, " ")
