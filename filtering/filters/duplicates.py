"""Keep one of several pairs that have the same prompt and the same two texts."""

from typing import Literal

import numpy as np
import pyarrow as pa

from filtering.filter import Facts, Filter, FilterConfig
from filtering.hashes import hash_texts
from filtering.measured import Measured
from filtering.texts import prompt_texts


class DuplicatesConfig(FilterConfig, frozen=True):
    """Keep one of several pairs with the same prompt and the same two texts: the one with the largest margin."""

    name: Literal["duplicates"]


def measure(pairs: pa.Table, _: DuplicatesConfig) -> pa.Table:
    """Hash the three texts of each pair together."""
    columns = [prompt_texts(pairs["messages"]), pairs["chosen"], pairs["rejected"]]
    texts = zip(*(column.cast(pa.large_binary()).to_pylist() for column in columns), strict=True)
    return hash_texts(b"\0".join(row) for row in texts)


def decide(facts: Facts, _: DuplicatesConfig) -> list[Measured]:
    """Keep the best of each group of equal pairs."""
    keys = np.stack([facts["low"], facts["high"]], axis=1)[facts.best_first]
    first = np.unique(keys, axis=0, return_index=True)[1]
    keep = np.zeros(len(facts), dtype=bool)
    keep[facts.best_first[first]] = True
    return [Measured(keep, None, None, "duplicate_pair")]


DUPLICATES = Filter(DuplicatesConfig, ("messages", "chosen", "rejected"), measure, decide)
