import random
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.mapping import Shard, Tag, map_shards


class Doubling:
    """Doubles numbers, `window` of them at a time, giving each window back in a shuffled order."""

    def __init__(self, window: int, seed: int = 0):
        self.window = window
        self.random = random.Random(seed)
        self.pulled = 0

    def items(self, table: pa.Table) -> list[int]:
        return table.column("n").to_pylist()

    def stream(self, tagged: Iterable[tuple[Tag, int]]) -> Iterator[tuple[Tag, int]]:
        waiting = []
        for tag, number in tagged:
            self.pulled += 1
            waiting.append((tag, 2 * number))
            if len(waiting) == self.window:
                self.random.shuffle(waiting)
                yield from waiting
                waiting = []
        yield from waiting

    def collect(self, table: pa.Table, items: list[int], results: list[int]) -> dict[str, pa.Table]:
        return {"part": pa.table({"n": items, "double": results})}


def run(stage: Doubling, *sizes: int) -> tuple[dict[int, dict], list[int]]:
    numbers = iter(range(sum(sizes)))
    shards = [
        Shard(i, pa.table({"n": pa.array([next(numbers) for _ in range(size)], pa.int64())}))
        for i, size in enumerate(sizes)
    ]
    written: dict[int, dict] = {}
    counts: list[int] = []
    map_shards(shards, stage, lambda index, tables: written.update({index: tables["part"].to_pydict()}), counts.append)
    return written, counts


@given(st.lists(st.integers(0, 7), max_size=6), st.integers(1, 9), st.integers(0, 99))
def test_every_row_lands_in_its_shard_in_order(sizes: list[int], window: int, seed: int):
    written, counts = run(Doubling(window, seed), *sizes)
    rows = [
        (n, d) for index in sorted(written) for n, d in zip(written[index]["n"], written[index]["double"], strict=True)
    ]
    assert rows == [(n, 2 * n) for n in range(sum(sizes))]
    assert [len(written[i]["n"]) for i in range(len(sizes))] == sizes
    assert sum(counts) == sum(sizes)


def test_rows_of_the_next_shard_are_taken_before_a_shard_is_done():
    stage = Doubling(window=4)
    order: list[tuple[int, int]] = []
    shards = [Shard(i, pa.table({"n": [1, 2, 3]})) for i in range(4)]
    map_shards(shards, stage, lambda index, _: order.append((index, stage.pulled)), lambda _: None)
    assert order[0] == (0, 4)  # the fourth row, of the second shard, was on its way when the first shard was written


def test_a_stage_that_loses_rows_is_an_error():
    class Losing(Doubling):
        def stream(self, tagged):
            return (pair for pair in super().stream(tagged) if pair[1] != 4)

    with pytest.raises(RuntimeError, match=r"without results for rows of shards \[0\]"):
        run(Losing(window=2), 3, 2)
