"""Facts of all parts in, similar prompts out: banded join, then an exact check that reads the sets it needs.

Equal prompts are one to begin with. Memory: the keys of a few bands, in all some 130 bytes a pair, the candidates found
so far up to a limit, and two blocks of sets.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from filtering.filter import FactSource, Ints, Mapper
from filtering.measured import Floats
from filtering.near.banding import find_candidates, unpack
from filtering.near.checking import jaccard
from filtering.near.shingles import Sets, UInt32s, UInt64s, distinct
from filtering.near.signatures import N_BANDS
from filtering.workers import IN_PROCESS

Index = Literal["words", "chars"]
LINKS = pa.schema([("first", pa.uint64()), ("second", pa.uint64()), ("jaccard", pa.float64())])

# Similarities below it are not kept: a chance of 1 in 8 at most to have been met.
FLOOR = 0.5
# Prompts below which starting processes costs more than they save: a million take 10 CPU-seconds here, 14 in two.
MAPPED_FROM = 2_000_000
_BANDS_A_TASK = 4
_MAX_CANDIDATES = 4_000_000
_MAX_BLOCK = 8_000_000


@dataclass(frozen=True)
class Prompts:
    """Distinct prompts of one index, the best first.

    Attributes:
        source: Their facts.
        index: Which of the two.
        rows: Where each stands among all pairs.
        hashes: Of their texts.
        n_words: How many words each has.
    """

    source: FactSource
    index: Index
    rows: Ints
    hashes: UInt64s
    n_words: Ints

    def read_column(self, name: str) -> np.ndarray:
        """Read a fact of each."""
        return _read(self.source, [f"{self.index}_{name}"])[f"{self.index}_{name}"][self.rows]

    def read_keys(self, task: int) -> list[UInt32s]:
        """Read the keys of a few bands."""
        names = [key_column(self.index, band) for band in range(N_BANDS)][task * _BANDS_A_TASK :][:_BANDS_A_TASK]
        columns = _read(self.source, names)
        return [columns[name][self.rows] for name in names]

    def read_sets(self, rows: Ints) -> Sets:
        """Read the sets of some rows, ascending."""
        values, sizes, start = [np.empty(0, np.uint32)], [np.zeros(1, np.int64)], 0
        for part, n_rows in enumerate(self.source.n_rows):
            wanted = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + n_rows)] - start
            start += n_rows
            if len(wanted):
                name = f"{self.index}_set"
                lists = self.source.read(part, [name])[name].combine_chunks().take(pa.array(wanted))
                values.append(lists.flatten().to_numpy())
                sizes.append(np.diff(lists.offsets.to_numpy()))
        return Sets(np.concatenate(values), np.cumsum(np.concatenate(sizes)))


class Block(NamedTuple):
    """Pairs of prompts to be measured, by row, and the rows whose sets that takes; all ascending but `second`."""

    first: Ints
    second: Ints
    first_rows: Ints
    second_rows: Ints


def key_column(index: Index, band: int) -> str:
    """Name the fact that holds the keys of a band."""
    return f"{index}_key_{band:02d}"


def link_prompts(source: FactSource, long_from: int, mapper: Mapper) -> pa.Table:
    """Find the pairs of different prompts that are similar, by words where both are long, by characters elsewhere.

    Args:
        source: Facts of all parts.
        long_from: Words from which on a prompt is long.
        mapper: Where the work is done if there is much of it.
    """
    if not sum(source.n_rows):
        return LINKS.empty_table()
    mapper = mapper if sum(source.n_rows) >= MAPPED_FROM else IN_PROCESS
    tables = [LINKS.empty_table()]
    for prompts in _list_prompts(source):
        tables += [pa.table(columns, schema=LINKS) for columns in _link(prompts, long_from, mapper)]
    table = pa.concat_tables(tables)
    return (
        table.group_by(["first", "second"], use_threads=False)
        .aggregate([("jaccard", "max")])
        .rename_columns(LINKS.names)
    )


def find_pairs(prompts: Prompts, mapper: Mapper) -> Iterator[UInt64s]:
    """Find candidates of all bands, a few bands at a time (`filtering.near.banding.find_candidates`)."""
    return mapper.map(partial(_find, prompts), range(N_BANDS // _BANDS_A_TASK))


def measure_pairs(prompts: Prompts, codes: UInt64s, mapper: Mapper) -> tuple[UInt64s, Floats]:
    """Measure candidates, and give those at or above the floor with their similarities, in no special order."""
    blocks = list(_blocks(prompts, codes))
    by_row = np.empty(int(prompts.rows.max(initial=0)) + 1, dtype=np.uint64)
    by_row[prompts.rows] = np.arange(len(prompts.rows), dtype=np.uint64)
    kept, similar = [np.empty(0, np.uint64)], [np.empty(0)]
    for block, measured in zip(blocks, mapper.map(partial(_measure, prompts), blocks), strict=True):
        is_near = measured >= FLOOR
        one, other = by_row[block.first[is_near]], by_row[block.second[is_near]]
        kept.append(np.minimum(one, other) << np.uint64(32) | np.maximum(one, other))
        similar.append(measured[is_near])
    return np.concatenate(kept), np.concatenate(similar)


def _list_prompts(source: FactSource) -> list[Prompts]:
    """List the distinct prompts of both indexes."""
    rows = _best_of_each(_read(source, ["id_low", "id_high", "prompt", "margin"]))
    facts = _read(source, ["prompt", "n_words", "words_size", "chars_size"])
    members: dict[Index, Ints] = {
        "words": rows[facts["words_size"][rows] > 0],
        "chars": rows[facts["chars_size"][rows] > 0],
    }
    return [Prompts(source, index, its, facts["prompt"][its], facts["n_words"][its]) for index, its in members.items()]


def _link(prompts: Prompts, long_from: int, mapper: Mapper) -> Iterator[dict[str, np.ndarray]]:
    sizes, waiting = prompts.read_column("size").astype(np.int64), np.empty(0, np.uint64)
    is_long = prompts.n_words >= long_from
    tasks = N_BANDS // _BANDS_A_TASK
    for task, codes in enumerate(find_pairs(prompts, mapper)):
        first, second = unpack(codes)
        smaller, larger = np.minimum(sizes[first], sizes[second]), np.maximum(sizes[first], sizes[second])
        may_be = smaller >= FLOOR * larger
        if prompts.index == "chars":
            may_be &= ~(is_long[first] & is_long[second])
        waiting = distinct(np.concatenate([waiting, codes[may_be]]))
        if task == tasks - 1 or len(waiting) > _MAX_CANDIDATES:
            kept, similar = measure_pairs(prompts, waiting, mapper)
            first, second = unpack(kept)
            yield {"first": prompts.hashes[first], "second": prompts.hashes[second], "jaccard": similar}
            waiting = waiting[:0]


def _find(prompts: Prompts, task: int) -> UInt64s:
    read = lru_cache(maxsize=2)(prompts.read_keys)
    bands = range(task * _BANDS_A_TASK, (task + 1) * _BANDS_A_TASK)
    found = [find_candidates(band, lambda one: read(one // _BANDS_A_TASK)[one % _BANDS_A_TASK]) for band in bands]
    return distinct(np.concatenate(found))


def _measure(prompts: Prompts, block: Block) -> Floats:
    left = prompts.read_sets(block.first_rows)
    is_one = block.first_rows is block.second_rows or np.array_equal(block.first_rows, block.second_rows)
    right = left if is_one else prompts.read_sets(block.second_rows)
    at, against = np.searchsorted(block.first_rows, block.first), np.searchsorted(block.second_rows, block.second)
    return jaccard(left, at, right, against)


def _blocks(prompts: Prompts, codes: UInt64s) -> Iterator[Block]:
    """Cut the rows that are needed into blocks of bounded size, and the pairs by the blocks of their two rows."""
    first, second = unpack(codes)
    one, other = prompts.rows[first], prompts.rows[second]
    one, other = np.minimum(one, other), np.maximum(one, other)
    rows = np.union1d(one, other)
    by_row = np.argsort(prompts.rows)
    sizes = prompts.read_column("size")[by_row][np.searchsorted(prompts.rows[by_row], rows)]
    of_row = np.cumsum(sizes, dtype=np.int64) // _MAX_BLOCK
    of_one, of_other = of_row[np.searchsorted(rows, one)], of_row[np.searchsorted(rows, other)]
    both = of_one << 32 | of_other
    for pair in np.unique(both):
        is_in = both == pair
        yield Block(one[is_in], other[is_in], rows[of_row == pair >> 32], rows[of_row == pair & 0xFFFFFFFF])


def _best_of_each(facts: dict[str, np.ndarray]) -> Ints:
    """Give the best row of each distinct prompt, the best first (`filtering.filter.Facts.best_first`)."""
    margin = np.where(np.isnan(facts["margin"]), np.inf, -facts["margin"])
    order = np.lexsort((facts["id_low"], facts["id_high"], margin))
    return order[np.sort(np.unique(facts["prompt"][order], return_index=True)[1])]


def _read(source: FactSource, names: list[str]) -> dict[str, np.ndarray]:
    """Read columns of all parts."""
    tables = [source.read(part, names) for part in range(len(source.n_rows))]
    return {name: np.concatenate([table[name].to_numpy() for table in tables]) for name in names}
