"""Drop copies of a pair: the same prompt and the same two texts, whatever their case and white space.

Texts are compared after Unicode NFKC, in lower case, trimmed and with each run of white space as one space, by hashes
of 128 bits. Of equal pairs the one with the largest margin is kept. Copies make the loss count a pair several times,
and put the same pair on both sides of a split. Roles of messages are not compared, nor is the order of the two texts:
the same texts turned around are a contradiction, not a copy, and stay.
"""

from typing import Literal

import pyarrow as pa

from filtering.filter import Facts, Filter, FilterConfig
from filtering.hashes import hash_texts, number_groups, plain_texts
from filtering.measured import Measured
from filtering.ranks import rank_in_group
from filtering.texts import prompt_texts


class DuplicatesConfig(FilterConfig, frozen=True):
    """Keep one of several pairs with the same prompt and the same two texts: the one with the largest margin."""

    name: Literal["duplicates"]


def measure(pairs: pa.Table, _: DuplicatesConfig) -> pa.Table:
    """Hash the three texts of each pair together."""
    columns = [prompt_texts(pairs["messages"]), pairs["chosen"], pairs["rejected"]]
    return hash_texts(b"\0".join(row) for row in zip(*map(plain_texts, columns), strict=True))


def decide(facts: Facts, _: DuplicatesConfig) -> list[Measured]:
    """Keep the best of each group of equal pairs."""
    rank = rank_in_group(number_groups(facts["low"], facts["high"]), facts.best_first)
    return [Measured(rank == 1, None, None, "duplicate_pair")]


DUPLICATES = Filter(DuplicatesConfig, ("messages", "chosen", "rejected"), measure, decide)
