"""How a streaming stage is mapped over shards in this process: fed without a barrier, written shard by shard.

A stage that waited for each shard to end would leave its engine half empty at every shard's tail (up to 2.2 times the
engine steps). So rows of the next shards are already on their way while a shard's last row is being done.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import pyarrow as pa

Item = TypeVar("Item")
Result = TypeVar("Result")
Tag = tuple[int, int]  # shard index, row in the shard


class StreamStage(Protocol[Item, Result]):
    """A stage whose rows are independent: table in, items through a stream, tables out."""

    def items(self, table: pa.Table, /) -> list[Item]:
        """Turn the rows of one input shard into work items, in order."""
        ...

    def stream(self, tagged: Iterable[tuple[Tag, Item]], /) -> Iterator[tuple[Tag, Result]]:
        """Pull items as they are needed, give results in any order, each with its item's tag."""
        ...

    def collect(self, table: pa.Table, items: list[Item], results: list[Result], /) -> dict[str, pa.Table]:
        """Turn the results of one shard, in the order of its items, into tables to write."""
        ...


@dataclass(frozen=True)
class Shard:
    """One input shard."""

    index: int
    table: pa.Table


@dataclass
class _Open(Generic[Item, Result]):
    """A shard some of whose rows are still on their way."""

    table: pa.Table
    items: list[Item]
    results: dict[int, Result] = field(default_factory=dict)


def map_shards(
    shards: Iterable[Shard],
    stage: StreamStage[Item, Result],
    write: Callable[[int, dict[str, pa.Table]], None],
    on_rows: Callable[[int], None],
) -> None:
    """Run a stage over shards, writing each one as soon as its last row is done.

    Args:
        shards: The input, pulled lazily.
        stage: What is done with each row.
        write: Called once per shard with its index and tables.
        on_rows: Called with the number of rows just done.
    """
    pending: dict[int, _Open[Item, Result]] = {}

    def feed() -> Iterator[tuple[Tag, Item]]:
        for shard in shards:
            items = stage.items(shard.table)
            if not items:
                write(shard.index, stage.collect(shard.table, [], []))
                continue
            pending[shard.index] = _Open(shard.table, items)
            for row, item in enumerate(items):
                yield (shard.index, row), item

    for (index, row), result in stage.stream(feed()):
        shard = pending[index]
        shard.results[row] = result
        on_rows(1)
        if len(shard.results) == len(shard.items):
            ordered = [shard.results[row] for row in range(len(shard.items))]
            write(index, stage.collect(shard.table, shard.items, ordered))
            del pending[index]
    if pending:
        raise RuntimeError(f"the stage ended without results for rows of shards {sorted(pending)}")
