"""What a filter is: facts measured shard by shard, and a decision over the facts of all pairs.

Measuring reads texts and is the costly half: it sees one shard at a time, in any process, and its facts are stored.
Deciding reads nothing but facts, so other thresholds filter again in seconds. A filter of near-duplicates has a step
between the two, `link`, which compares pairs of all shards.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar  # Any: each filter's own config and facts

import numpy as np
import pyarrow as pa
from pydantic import BaseModel
from pydantic.config import JsonDict

from filtering.measured import Floats, Measured

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
Item = TypeVar("Item")
Result = TypeVar("Result")


# Marks a field that changes no answer: speed, and where a file lies whose content counts through `Filter.measured_by`.
HOW: JsonDict = {"how": True}


class FilterConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """What all filters' configs share: a `name: Literal[...]`, and thresholds with defaults."""


@dataclass(frozen=True)
class Facts:
    """What is known of the pairs that no earlier filter has dropped, in the order they came in.

    Attributes:
        columns: A filter's facts by name, numpy arrays of one length.
        best_first: Positions in these arrays, the largest margin first, unknown margins last; equal ones by the hash of
            their ids. Whoever keeps one of several pairs keeps the first: whatever the order of rows, the same one.
        rows: Number of each pair among all pairs of the run, ascending; `links` names pairs by it.
        links: What the filter's `link` wrote; None where it has none.
    """

    columns: Mapping[str, np.ndarray]
    best_first: Ints
    rows: Ints
    links: pa.Table | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def floats(self, name: str) -> Floats:
        """Give a column as float64, what is unknown as NaN."""
        return self.columns[name].astype(np.float64)


class Mapper(Protocol):
    """Where tasks run: in this process, in several, or on a cluster."""

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Give each item's result, in the order of the items.

        Args:
            task: A function of a module's top level, or a functools.partial of one: it is pickled.
            items: Pulled only a little ahead of the results; pickled too.
        """
        ...


class FactSource(Protocol):
    """A filter's stored facts; may be pickled and read in another process."""

    @property
    def n_rows(self) -> Sequence[int]:
        """Rows of each part, whose pairs have consecutive row numbers."""
        ...

    def read(self, part: int, columns: list[str] | None) -> pa.Table:
        """Read columns of a part's facts; None = all."""
        ...


@dataclass(frozen=True)
class Filter:
    """One filter.

    Attributes:
        config: Its config, which tells its name.
        reads: Columns of `judging.schema.PAIRS` that `measure` reads.
        measure: Pairs of a shard and the config in; a table of facts, a row a pair, out. A pure function of the rows.
        decide: Facts and the config in, one `Measured` for each reason out; a pair is dropped for the first it fails.
        measured_by: What the facts depend on beside the pairs, as JSON values: the part of the config that `measure`
            and `link` read, checksums of files that it names. What is left out are thresholds: they may change without
            measuring again. The filter's name is added.
        decides_on: Columns of the facts that `decide` reads; None = all of them. They have to be small and without
            nulls: numbers, booleans, hashes.
        link: Facts of all shards and the config in, a table of relations between pairs out.
        version: Raised by hand when `measure` or `link` gives other facts for the same rows.
    """

    config: type[FilterConfig]
    reads: tuple[str, ...]
    measure: Callable[[pa.Table, Any], pa.Table]
    decide: Callable[[Facts, Any], list[Measured]]
    measured_by: Callable[[Any], dict[str, Any]] = lambda _: {}
    decides_on: tuple[str, ...] | None = None
    link: Callable[[FactSource, Any, Mapper], pa.Table] | None = None
    version: int = 1
