"""Keep one of several pairs that have the same prompt and the same two texts."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filtering.config import DuplicatesConfig
from filtering.measured import Measured


def find_duplicates(pairs: pa.Table, _: DuplicatesConfig) -> list[Measured]:
    """Keep the pair with the largest margin, among those the one with the smallest id, whatever the order of rows."""
    best_first = pc.sort_indices(pairs, [("margin", "descending"), ("pair_id", "ascending")]).to_numpy()
    groups = np.zeros(len(pairs), dtype=np.int64)
    for name in ("prompt_id", "chosen", "rejected"):
        # An Arrow string array ends at 2 GiB, all texts together may pass that.
        texts = pairs[name].cast(pa.large_string()).combine_chunks()
        codes = texts.dictionary_encode().indices.to_numpy().astype(np.int64)
        groups = np.unique(groups * len(pairs) + codes, return_inverse=True)[1]
    first = np.unique(groups[best_first], return_index=True)[1]
    keep = np.zeros(len(pairs), dtype=bool)
    keep[best_first[first]] = True
    return [Measured(keep, None, None, "duplicate_pair")]
