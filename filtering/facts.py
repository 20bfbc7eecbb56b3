"""Measured facts on disk: a file for each filter and part, written whole or not at all.

A folder belongs to one list of parts. A filter's subfolder is named by all that its facts depend on, so facts that
stand are right: a killed run goes on with them, and other thresholds find them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # JSON values

import pyarrow as pa
import pyarrow.parquet as pq

from filtering.filter import Filter, FilterConfig
from filtering.whole_file import whole_file


def facts_key(name: str, version: int, measured_by: dict[str, Any]) -> str:
    """Name what a filter's facts depend on beside the pairs: its name and a hash of the rest."""
    said = json.dumps([version, measured_by], sort_keys=True)
    return f"{name}-{hashlib.blake2b(said.encode(), digest_size=8).hexdigest()}"


def filter_key(name: str, found: Filter, config: FilterConfig) -> str:
    """Name the facts of a filter under a config."""
    return facts_key(name, found.version, found.measured_by(config))


@dataclass(frozen=True)
class FactFolder:
    """The facts of one filter, part by part; may be pickled."""

    path: Path
    n_rows: Sequence[int]

    def has(self, part: int) -> bool:
        """Say whether a part was measured."""
        return self._file(part).exists()

    def read(self, part: int, columns: list[str] | None) -> pa.Table:
        """Read columns of a part's facts; None = all.

        Raises:
            OSError: The file is damaged.
        """
        return _read(self._file(part), columns)

    def write(self, part: int, facts: pa.Table) -> None:
        """Store a part's facts."""
        if facts.num_rows != self.n_rows[part]:
            raise RuntimeError(f"{self.path.name}: {facts.num_rows} facts of {self.n_rows[part]} pairs")
        _write(self._file(part), facts)

    @property
    def links(self) -> Path:
        """Where the relations between pairs lie."""
        return self.path / "links.parquet"

    def read_links(self) -> pa.Table | None:
        """Read the relations between pairs; None where there are none yet."""
        return _read(self.links, None) if self.links.exists() else None

    def write_links(self, links: pa.Table) -> None:
        """Store the relations between pairs."""
        _write(self.links, links)

    def _file(self, part: int) -> Path:
        return self.path / f"facts-{part:05d}.parquet"


@dataclass(frozen=True)
class FactTable:
    """Facts in memory, of one part."""

    table: pa.Table

    @property
    def n_rows(self) -> list[int]:
        """Rows of the one part."""
        return [self.table.num_rows]

    def read(self, part: int, columns: list[str] | None) -> pa.Table:
        """Give columns of the one part."""
        if part:
            raise IndexError(part)
        return self.table.select(columns or self.table.column_names)


def _read(path: Path, columns: list[str] | None) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise OSError(f"{path} is damaged ({error}): remove it and run again, then it is measured anew") from error


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        pq.write_table(table, file, compression="zstd", compression_level=1, write_page_checksum=True)
