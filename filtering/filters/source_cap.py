"""Keep at most so many pairs of one source, the ones with the largest margins: no source drowns the others.

`max_pairs` is a number. `max_share` is a share of what this filter keeps: the largest cap is taken at which no source
has more than its share of the pairs that are left, so filtering again drops nothing; a share of what came in would be
exceeded as soon as pairs are dropped. Nobody measured which share is best: look at the funnel by source. Capping by
sampling is left out: the best pairs are kept, whatever their order.
"""

from typing import Literal

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import Field, model_validator

from filtering.filter import Facts, Filter, FilterConfig, Ints
from filtering.measured import Measured
from filtering.ranks import keep_best

_UNKNOWN = 0  # stands for pairs without a source, which count as one


class SourceCapConfig(FilterConfig, frozen=True):
    """Keep at most some pairs of each source, those with the largest margins."""

    name: Literal["source_cap"]
    max_pairs: int | None = Field(default=None, ge=1)
    """Most pairs of one source; null sets no limit."""
    max_share: float | None = Field(default=None, gt=0, lt=1)
    """Largest share of the pairs that this filter keeps that one source may have; null sets no limit."""

    @model_validator(mode="after")
    def _has_a_limit(self) -> "SourceCapConfig":
        if self.max_pairs is None and self.max_share is None:
            raise ValueError("max_pairs and max_share are both null, so nothing is dropped: give one of them")
        return self


def measure(pairs: pa.Table, _: SourceCapConfig) -> pa.Table:
    """Hash the sources."""
    coded = pairs["source"].combine_chunks().dictionary_encode(null_encoding="encode")
    names = coded.dictionary.to_pylist()
    hashes = [_UNKNOWN if name is None else xxhash.xxh3_64_intdigest(name.encode()) for name in names]
    return pa.table({"source": np.array(hashes, dtype=np.uint64)[coded.indices.to_numpy(zero_copy_only=False)]})


def decide(facts: Facts, config: SourceCapConfig) -> list[Measured]:
    """Keep the best of each source.

    Raises:
        ValueError: There are too few sources for `max_share` to hold.
    """
    counts = np.unique(facts["source"], return_counts=True)[1]
    found = list[Measured]()
    if config.max_pairs is not None:
        found.append(keep_best(facts["source"], facts.best_first, config.max_pairs, "source_pairs"))
        counts = np.minimum(counts, config.max_pairs)
    if config.max_share is not None:
        cap = share_cap(counts, config.max_share)
        found.append(keep_best(facts["source"], facts.best_first, cap, "source_share"))
    return found


def share_cap(counts: Ints, max_share: float) -> int:
    """Give the largest number of pairs of a source such that none has more than its share of those that are left.

    With n_i pairs of source i this is the largest c with c <= max_share * sum_i min(n_i, c), or the largest n_i if that
    is within its share. The sum is concave in c, so all smaller c meet the condition too, and c is found by halving.

    Raises:
        ValueError: Not even one pair of each source meets the condition.
    """
    if not counts.size:
        return 0
    if not _holds(counts, max_share, 1):
        raise ValueError(
            f"source_cap.max_share {max_share} cannot hold: the pairs have {counts.size} sources, so one of them has "
            f"at least 1/{counts.size}; raise it, leave the filter out, or cap by max_pairs"
        )
    low, high = 1, int(counts.max()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _holds(counts, max_share, middle) else (low, middle)
    return low


def _holds(counts: Ints, max_share: float, cap: int) -> bool:
    left = np.minimum(counts, cap)
    return bool(left.max() <= max_share * left.sum() * (1 + 1e-12))  # 0.1 * 30 is 3.0000000000000004


SOURCE_CAP = Filter(SourceCapConfig, ("source",), measure, decide)
