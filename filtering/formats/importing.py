"""Anybody's pairs in, pairs in our schema and a ledger of the rows that are none out, in bounded memory.

Every row of the source becomes one or the other. A file that is something else altogether raises: what is wrong with it
concerns all its rows.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any  # progress events

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from filtering.formats.detecting import SAMPLE_ROWS, Detected, detect_format, force_format
from filtering.formats.pair_rows import READ_BESIDE, Origin, PairRows, find_id_column
from filtering.formats.row_batch import BrokenRow, RowBatch
from filtering.formats.source_files import SourceFile, list_files
from filtering.hashes import hash_texts
from generation.schema import DROPS

_MAX_GROUP_ROWS = 10_000
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Imported:
    """What an import gives.

    Attributes:
        format: Name of the format that the source was read as.
        files: Parquet files of `judging.schema.PAIRS`, in the order of the source's rows.
        drops: Table of `generation.schema.DROPS`: the rows that are no pairs.
        n_rows: Rows of the source: pairs + drops.
        why: What the format was told by.
    """

    format: str
    files: list[Path]
    drops: pa.Table
    n_rows: int
    why: str = ""


def import_pairs(
    source: Path,
    file_format: str | None,
    folder: Path,
    on_event: Callable[[dict[str, Any]], None] = lambda _: None,
    rows_per_file: int = _MAX_GROUP_ROWS,
) -> Imported:
    """Read a file or folder of pairs and write them in our schema.

    Files appear whole or not at all; those of an import that was killed are replaced by the next one.

    Args:
        source: Parquet, JSONL, JSON or CSV file, or a folder of such.
        file_format: Name of the format; None = find out.
        folder: Where `pairs-00000.parquet` and so on are written.
        on_event: Told the rows read so far (`done`).
        rows_per_file: Pairs in a file, fewer where the texts are long.

    Raises:
        FileNotFoundError: There is no such source.
        ValueError: The source is empty, broken, of no known or of another format, or two rows have one id.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in [*folder.glob("pairs-*.parquet"), *folder.glob(".pairs-*.parquet")]:
        left.unlink()
    written = list[Path]()
    drops = [DROPS.empty_table()]
    reader = PairReader(source, file_format)
    for rows in reader.read(rows_per_file):
        if len(rows):
            written.append(folder / f"pairs-{len(written):05d}.parquet")
            _write(written[-1], rows.pairs_table(str(source)))
        drops.append(rows.drops_table())
        on_event({"done": reader.n_rows, "note": "rows read"})
    return Imported(reader.format, written, pa.concat_tables(drops), reader.n_rows, reader.why)


@dataclass
class PairReader:
    """Reads a source as pairs, a group of rows at a time.

    Attributes:
        source: File or folder.
        file_format: Name of the format; None = find out.
        format: Name of the format it is read as, known from the first group on.
        why: What it was told by.
        n_rows: Rows read so far.
        reasons: Rows dropped so far, by reason.
    """

    source: Path
    file_format: str | None = None
    format: str = ""
    why: str = ""
    n_rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    _n_mended: int = 0
    _ids: list[pa.Table] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _files: list[tuple[SourceFile, int]] = field(default_factory=list)
    _id_column: str | None = None

    def read(self, rows_per_group: int = _MAX_GROUP_ROWS) -> Iterator[PairRows]:
        """Read pairs and drops in the order of the rows: at most so many, and 64 million characters of them.

        Raises:
            FileNotFoundError: There is no such source.
            ValueError: The source is empty, broken, of no known or of another format, or two rows have one id.
        """
        group, n_pairs = PairRows(), 0
        for file in list_files(self.source):
            for rows, number, origin in self._open(file):
                ids = list[str]()
                for at, row in enumerate(rows, start=number):
                    ids.append(group.add(row, at, origin))
                    if group.is_full(rows_per_group):
                        n_pairs += len(group)
                        self._count(group)
                        yield group
                        group = PairRows()
                self._ids.append(hash_texts(id.encode() for id in ids))
        self._check_distinct()
        if group.drops or len(group):
            n_pairs += len(group)
            self._count(group)
            yield group
        self._finish(n_pairs)

    def _open(self, file: SourceFile) -> Iterator[tuple[Sequence[dict[str, Any] | BrokenRow], int, Origin]]:
        """Give a file's rows in batches, with the number of each batch's first row."""
        detected: Detected | None = None
        origin: Origin | None = None
        number = 0
        self._files.append((file, self.n_rows))
        for batch in file.read():
            if detected is None or origin is None:
                columns, sample = _sample(batch)
                detected = self._tell(file, columns, sample)
                self._id_column = find_id_column(columns)
                origin = Origin(str(file.path), file.path.name, file.stem, self._id_column, detected.format)
            self._look(batch, detected)
            yield batch.rows, number, origin
            number += len(batch.rows)
        if not number:
            raise ValueError(f"{file.path} is empty: it holds no row")

    def _tell(self, file: SourceFile, columns: list[str], sample: list[dict[str, Any]]) -> Detected:
        """Find the format of a file; all files of a folder have the one of the first."""
        name = self.format or self.file_format
        if not sample:
            raise ValueError(f"{file.path}: none of the first rows is UTF-8 text: write the file as UTF-8")
        found = force_format(file.path, name, columns, sample) if name else detect_format(file.path, columns, sample)
        if not self.format:
            self.format, self.why = found.format.name, found.why
            log.info("%s: read as %s (%s)", self.source, self.format, self.why)
        return found

    def _look(self, batch: RowBatch, detected: Detected) -> None:
        """Count rows, and see which columns nobody reads."""
        self.n_rows += len(batch.rows)
        self._n_mended += batch.n_mended
        known = {*detected.format.columns, *detected.format.also_read, *READ_BESIDE}
        for row in batch.rows:
            if not isinstance(row, BrokenRow):
                self._seen.update(row.keys() - known)

    def _count(self, group: PairRows) -> None:
        self.reasons.update(group.reasons())

    def _check_distinct(self) -> None:
        if not self._ids:
            return
        table = pa.concat_tables(self._ids)
        low, high = table["low"].to_numpy(), table["high"].to_numpy()
        order = np.lexsort((low, high))
        same = np.flatnonzero((low[order][1:] == low[order][:-1]) & (high[order][1:] == high[order][:-1]))
        if same.size:
            first, second = sorted(order[same[0] : same[0] + 2].tolist())
            column = self._id_column or "the ids"
            raise ValueError(
                f"{self._place(first)} and {self._place(second)} have the same {column}: make them distinct, or take "
                "the column out, then rows are called by their place"
            )

    def _place(self, row: int) -> str:
        file, start = next((file, start) for file, start in reversed(self._files) if start <= row)
        return f"{file.path}, row {row - start + 1}"

    def _finish(self, n_pairs: int) -> None:
        """Check that no row was lost, and say what became of them."""
        if self.n_rows != n_pairs + self.reasons.total():
            raise RuntimeError(f"{self.n_rows} rows in, but {n_pairs} pairs + {self.reasons.total()} drops out")
        if self._n_mended:
            log.warning("%s: %d rows had half surrogate pairs, now U+FFFD", self.source, self._n_mended)
        if self._seen:
            log.info("%s: columns that pairs do not have are left out: %s", self.source, ", ".join(sorted(self._seen)))
        log.info(
            "import: %d rows in, %d pairs out, dropped: %s", self.n_rows, n_pairs, dict(self.reasons.most_common())
        )


def _sample(batch: RowBatch) -> tuple[list[str], list[dict[str, Any]]]:
    rows = [row for row in batch.rows if not isinstance(row, BrokenRow)]
    return list(dict.fromkeys(name for row in rows for name in row)), rows[:SAMPLE_ROWS]


def _write(path: Path, pairs: pa.Table) -> None:
    """Write pairs so that the file is whole or absent; zstd 1 without dictionaries suits long texts."""
    partial = path.with_name(f".{path.name}")
    pq.write_table(
        pairs,
        partial,
        row_group_size=_MAX_GROUP_ROWS,
        compression="zstd",
        compression_level=1,
        use_dictionary=False,
        write_page_checksum=True,
    )
    partial.replace(path)
