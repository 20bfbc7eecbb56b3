"""Which files a path means, and the rows of each in batches: Parquet, JSON lines, a JSON array, CSV.

Texts that are no UTF-8 make their row a `BrokenRow`; half surrogate pairs, which JSON allows and Arrow refuses, become
U+FFFD and are counted. Text files may be compressed (.gz, .zst, .bz2, .lz4).
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filtering.formats.csv_rows import read_csv
from filtering.formats.json_rows import read_json, read_json_lines
from filtering.formats.parquet_rows import read_parquet
from filtering.formats.row_batch import RowBatch

_READERS: dict[str, Callable[[Path], Iterator[RowBatch]]] = {
    ".parquet": read_parquet,
    ".jsonl": read_json_lines,
    ".json": read_json,
    ".csv": read_csv,
}
_COMPRESSED = (".gz", ".zst", ".bz2", ".lz4")
_OURS = ("part-*.parquet", "pairs-*.parquet")  # beside other tables in a folder of ours
SUFFIXES = tuple(_READERS)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    Attributes:
        path: The file.
        stem: What its rows are called by: its name without suffixes, with them where two files share the stem.
    """

    path: Path
    stem: str

    def read(self) -> Iterator[RowBatch]:
        """Read its rows in order, some at a time.

        Raises:
            ValueError: It is not what its suffix says; the message names it, and the line or row.
        """
        return _READERS[_kind(self.path)](self.path)


def list_files(source: Path) -> list[SourceFile]:
    """List the files that a path means: itself, or those of a folder in the order of their names.

    Of a folder that holds several kinds the first of Parquet, JSON lines, JSON and CSV is read, and a warning names the
    other files; of one that this project wrote the pairs.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: There is no file of a kind that can be read.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist: give a file with pairs, or a folder of such files")
    if not source.is_dir():
        if _kind(source) not in _READERS:
            raise ValueError(
                f"{source}: files that end in {', '.join(SUFFIXES)} can be read; convert it to one of them"
            )
        return [SourceFile(source, _stem(source))]
    files = _files_of(source)
    names = [str(file.relative_to(source).with_name(_stem(file))) for file in files]
    whole = [str(file.relative_to(source)) for file in files]
    return [
        SourceFile(file, name if names.count(name) == 1 else whole[at])
        for at, (file, name) in enumerate(zip(files, names, strict=True))
    ]


def _files_of(folder: Path) -> list[Path]:
    for pattern in _OURS:
        if files := sorted(folder.glob(pattern)):
            return files
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not _is_hidden(file.relative_to(folder)))
    if any(file.suffix == ".arrow" for file in files):
        raise ValueError(f"{folder} holds a dataset of save_to_disk: write it with its to_parquet instead")
    for suffix in SUFFIXES:
        if found := [file for file in files if _kind(file) == suffix]:
            if left := [file.name for file in files if _kind(file) in _READERS and file not in found]:
                _log.warning("%s: only its %s files are read, not %s", folder, suffix, ", ".join(left))
            return found
    raise ValueError(f"{folder} holds no file that ends in {', '.join(SUFFIXES)}")


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _kind(path: Path) -> str:
    return Path(path.stem).suffix.lower() if path.suffix.lower() in _COMPRESSED else path.suffix.lower()


def _stem(path: Path) -> str:
    return Path(path.stem).stem if path.suffix.lower() in _COMPRESSED else path.stem
