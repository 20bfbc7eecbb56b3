"""Rows of JSONL, Parquet and CSV files, of folders of them, and of Hub data sets, as plain dicts in their order."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast  # a source's values

import pyarrow as pa
import pyarrow.parquet as pq

from generation.config import PromptsConfig

Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """The rows of one file or data set.

    Attributes:
        name: File name inside its folder, or the data set's name.
        columns: Every column that some row has, in order of appearance.
        rows: The rows; one may lack columns that others have.
    """

    name: str
    columns: list[str]
    rows: list[Row]


def read_sources(config: PromptsConfig) -> list[Source]:
    """Read what a recipe names, file or Hub data set.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: A file is of another kind or broken; the message names file and line.
    """
    if config.path is not None:
        return _read_path(config.path, config.limit)
    return [_read_hub(config)]


def source_files(path: Path) -> list[Path]:
    """List the files that are read for a path: itself, or those of the folder in the order of their names.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: The folder holds no file of a kind that can be read, or one that is a broken link or a pipe.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path.absolute()} does not exist: give a file, or a folder of files")
    named = (file for file in path.rglob("*") if file.suffix in _READERS and not file.name.startswith("."))
    files = sorted(file for file in named if not file.is_dir())
    if not files:
        raise ValueError(f"{path} holds no file that ends in {', '.join(_READERS)}")
    for file in files:
        if not file.is_file():
            raise ValueError(f"{file} is a broken link, a pipe or a device: put a file there, or take it away")
    return files


def missing_column(source: Source, column: str, field: str) -> ValueError:
    """Say that a source lacks a column that the recipe asks for."""
    return ValueError(
        f"{source.name} has no column {column!r}; it has {', '.join(source.columns)}. Set {field} to one of them"
    )


def _read_path(path: Path, limit: int | None) -> list[Source]:
    """Read a file, or every file of a folder in the order of their names."""
    sources: list[Source] = []
    left = limit
    for file in source_files(path):
        name = file.name if file == path else str(file.relative_to(path))
        sources.append(_source(name, islice(_reader(file)(file), left)))
        if left is not None:
            left -= len(sources[-1].rows)
    return sources


def _read_hub(config: PromptsConfig) -> Source:
    from datasets import load_dataset

    name = str(config.dataset)
    rows = load_dataset(name, config.dataset_config, split=config.dataset_split, revision=config.dataset_revision)
    return _source(name, islice(cast(Iterable[Row], rows), config.limit))


def _source(name: str, rows: Iterator[Row]) -> Source:
    kept = list(rows)
    return Source(name, list(dict.fromkeys(column for row in kept for column in row)), kept)


def _reader(file: Path) -> Callable[[Path], Iterator[Row]]:
    if file.suffix not in _READERS:
        raise ValueError(f"{file}: files that end in {', '.join(_READERS)} can be read; convert it to one of them")
    return _READERS[file.suffix]


def _read_jsonl(file: Path) -> Iterator[Row]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if b"\\ud" in line.lower():  # half a surrogate pair is no text: Arrow would refuse it later
                    json.dumps(row, ensure_ascii=False).encode()
            except (json.JSONDecodeError, UnicodeError) as error:
                raise ValueError(f"{file}, line {number}: {error}; each line must be one JSON object") from error
            if not isinstance(row, dict):
                raise ValueError(f"{file}, line {number}: a {type(row).__name__}; each line must be one JSON object")
            yield row


def _read_parquet(file: Path) -> Iterator[Row]:
    try:
        parquet = pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file} is no whole Parquet file ({error}): write it again") from error
    with parquet:
        try:
            for batch in parquet.iter_batches():
                yield from batch.to_pylist()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{file} is damaged, or holds text that is not UTF-8 ({error}): write it again") from error


def _read_csv(file: Path) -> Iterator[Row]:
    """Read strings as they stand, an empty field as null."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise csv.Error(f"not {len(reader.fieldnames or ())} fields")
                yield {column: value or None for column, value in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(
                f"{file}, line {reader.line_num}: {error}; quote fields that hold commas, quotes or line ends"
            ) from error


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".csv": _read_csv,
}
