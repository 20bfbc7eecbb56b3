"""Rows of a CSV file with a header."""

import csv
from collections.abc import Iterator
from pathlib import Path

from filtering.formats.row_batch import SURROGATE, ReadRow, RowBatch, broken, gather
from filtering.formats.text_stream import open_text

_MAX_FIELD_CHARS = 256 << 20


def read_csv(path: Path) -> Iterator[RowBatch]:
    """Read a CSV file; all fields are texts, an empty one too.

    Raises:
        ValueError: A row has more or fewer fields than the header, or quotes are wrong.
    """
    yield from gather(_rows(path))


def _rows(path: Path) -> Iterator[ReadRow]:
    csv.field_size_limit(_MAX_FIELD_CHARS)  # the module's own limit is 131,072
    with open_text(path) as text:
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, [])
            if len(set(header)) < len(header):
                raise csv.Error(f"the header names a column twice: {', '.join(header)}")
            for row in reader:
                if not row:
                    continue  # a blank line
                if len(row) != len(header):
                    raise csv.Error(f"{len(row)} fields, but the header has {len(header)}")
                said = "".join(row)
                is_broken = SURROGATE.search(said) is not None
                named = broken(said) if is_broken else dict(zip(header, row, strict=True))
                yield ReadRow(named, len(said))
        except csv.Error as error:
            raise ValueError(
                f"{path}, line {reader.line_num}: {error}; quote fields that hold commas, quotes or line ends"
            ) from error
