"""Rows of a Parquet file."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from filtering.formats.format import Row
from filtering.formats.row_batch import MAX_CHARS, MAX_ROWS, BrokenRow, RowBatch


def read_parquet(path: Path) -> Iterator[RowBatch]:
    """Read a Parquet file, as many rows at a time as their size allows.

    Raises:
        ValueError: It is no whole Parquet file, names a column twice, or holds a date that Python has not.
    """
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:  # else it holds all that was read until the end
            if len(set(names := file.schema_arrow.names)) < len(names):
                raise ValueError(f"{path} names a column twice: {', '.join(names)}; rename one, or leave it out")
            for batch in file.iter_batches(_rows_at_once(file.metadata)):
                yield RowBatch(_rows(batch))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise ValueError(f"{path} can't be read as Parquet ({error}): write it again") from error
    except OverflowError as error:
        raise ValueError(f"{path}: {error}: leave out the column with dates before year 1 or after 9999") from error


def _rows_at_once(metadata: pq.FileMetaData) -> int:
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    row_bytes = max((group.total_byte_size / group.num_rows for group in groups if group.num_rows), default=1)
    return max(1, min(MAX_ROWS, int(MAX_CHARS / max(1, row_bytes))))


def _rows(batch: pa.RecordBatch) -> list[Row | BrokenRow]:
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        return [_row(batch.slice(at, 1)) for at in range(len(batch))]


def _row(batch: pa.RecordBatch) -> Row | BrokenRow:
    try:
        return batch.to_pylist()[0]
    except UnicodeDecodeError as error:
        return BrokenRow(bytes(error.object[:1000]).decode(errors="replace"))
