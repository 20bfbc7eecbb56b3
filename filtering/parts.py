"""Pairs on disk in parts small enough to hold: row groups of Parquet files, read one at a time."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True, slots=True)
class Part:
    """One row group of one file; may be read in any process that sees the file."""

    path: Path
    row_group: int
    n_rows: int

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """Read some columns, or all."""
        with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
            return file.read_row_group(self.row_group, columns)


def list_parts(files: Iterable[Path]) -> list[Part]:
    """Name the row groups of files in order; empty ones are left out."""
    parts: list[Part] = []
    for path in files:
        facts = pq.read_metadata(path)
        sizes = [facts.row_group(index).num_rows for index in range(facts.num_row_groups)]
        parts += [Part(path, index, n_rows) for index, n_rows in enumerate(sizes) if n_rows]
    return parts
