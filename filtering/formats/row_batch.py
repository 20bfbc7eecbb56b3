"""Rows of a file, some at a time, and what of them could not be read."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any  # values of foreign files

from filtering.formats.format import Row

MAX_ROWS = 1_000
MAX_CHARS = 16 << 20
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row with text that is no UTF-8; what can be read of it, or None."""

    text: str | None


@dataclass
class RowBatch:
    """Rows in the order of the file.

    Attributes:
        rows: The rows.
        n_mended: How many of them had half surrogate pairs, now U+FFFD.
    """

    rows: list[Row | BrokenRow] = field(default_factory=list)
    n_mended: int = 0


@dataclass(frozen=True, slots=True)
class ReadRow:
    """A row of a text file as it was read, and the number of its characters."""

    row: Row | BrokenRow
    n_chars: int
    is_mended: bool = False


def gather(rows: Iterable[ReadRow]) -> Iterator[RowBatch]:
    """Gather rows into batches of at most 1,000 rows and 16 million characters, or one row."""
    batch, n_chars = RowBatch(), 0
    for one in rows:
        if batch.rows and (len(batch.rows) == MAX_ROWS or n_chars + one.n_chars > MAX_CHARS):
            yield batch
            batch, n_chars = RowBatch(), 0
        batch.rows.append(one.row)
        batch.n_mended += one.is_mended
        n_chars += one.n_chars
    if batch.rows:
        yield batch


def broken(text: str) -> BrokenRow:
    """Make text with undecoded bytes a row that can be shown."""
    return BrokenRow(SURROGATE.sub("\ufffd", text[:1000]))


def mend(value: Any) -> Any:
    """Replace half surrogate pairs in all texts of a JSON value."""
    if isinstance(value, str):
        return SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [mend(one) for one in value]
    return {mend(name): mend(one) for name, one in value.items()} if isinstance(value, dict) else value
