"""Pairs in our schema in, rows of a format out: Parquet, a JSON array or JSON lines, by the file's suffix.

A pair that a format can't carry, such as one with a system prompt in plain HH-RLHF text, stands in the ledger instead.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from filtering.formats.format import BadPairError, Format, Row
from generation.schema import CONTEXT_CHARS, DROPS
from judging.schema import PAIRS

_UNUSED = ("token_ids", "logprob_sum", "tokenizer")


@dataclass
class Converted:
    """Pairs on their way to a format.

    Attributes:
        format: The format.
        drops: Rows of `generation.schema.DROPS` for pairs that it can't carry, so far.
        n_rows: Rows made so far.
    """

    format: Format
    drops: list[Row] = field(default_factory=list)
    n_rows: int = 0

    def convert(self, groups: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Turn tables of `judging.schema.PAIRS` into tables of the format, which may be shorter."""
        for pairs in groups:
            if self.format.schema is PAIRS:
                self.n_rows += pairs.num_rows
                yield pairs
                continue
            needed = [name for name in pairs.column_names if not name.endswith(_UNUSED)]
            rows = [row for pair in pairs.select(needed).to_pylist() if (row := self._write(pair)) is not None]
            self.n_rows += len(rows)
            yield pa.Table.from_pylist(rows, schema=self.format.schema)

    def drops_table(self) -> pa.Table:
        """Give the ledger."""
        return pa.Table.from_pylist(self.drops, schema=DROPS)

    def _write(self, pair: Row) -> Row | None:
        try:
            return self.format.write(pair)
        except BadPairError as error:
            context = pair["messages"][-1]["content"][:CONTEXT_CHARS].replace("\n", " ")
            what = {"kind": "pair", "id": pair["pair_id"], "stage": "filtering", "step": "export"}
            self.drops.append(what | {"reason": error.reason, "context": context})
            return None


def write_rows(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    """Write rows so that `path` either holds all of them or keeps what it held.

    Args:
        tables: Rows, some at a time.
        schema: Their columns.
        path: A file that ends in .parquet, .json or .jsonl.

    Raises:
        ValueError: It ends in something else.
    """
    if path.suffix not in _WRITERS:
        raise ValueError(f"{path}: give a file that ends in {', '.join(_WRITERS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with _WRITERS[path.suffix](partial, schema) as writer:
            for table in tables:
                writer.write_table(table)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class RowWriter(Protocol):
    """What takes rows, some at a time."""

    def write_table(self, table: pa.Table) -> None:
        """Write rows."""
        ...


@contextmanager
def parquet_writer(path: Path, schema: pa.Schema) -> Iterator[RowWriter]:
    """Open a Parquet file for rows; a table is a row group."""
    with pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=1, use_dictionary=False, write_page_checksum=True
    ) as writer:
        yield writer


@dataclass
class _JsonWriter:
    file: IO[str]
    before: str  # each row but the first
    n_rows: int = 0

    def write_table(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            if self.n_rows:
                self.file.write(self.before)
            json.dump(row, self.file, ensure_ascii=False, allow_nan=False)
            self.n_rows += 1


@contextmanager
def _json_writer(path: Path, schema: pa.Schema) -> Iterator[RowWriter]:  # noqa: ARG001  as Parquet's
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("[\n")
        yield _JsonWriter(file, ",\n")
        file.write("\n]\n")


@contextmanager
def _lines_writer(path: Path, schema: pa.Schema) -> Iterator[RowWriter]:  # noqa: ARG001
    with path.open("w", encoding="utf-8", newline="\n") as file:
        yield _JsonWriter(file, "\n")
        file.write("\n")


_WRITERS = {".parquet": parquet_writer, ".json": _json_writer, ".jsonl": _lines_writer}
