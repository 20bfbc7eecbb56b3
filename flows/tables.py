"""Parquet files as the store writes them: complete or absent, small and fast to read."""

import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

ROW_GROUP = 10_000


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table so that `path` either holds all of it or does not exist.

    zstd 1 without dictionaries is smaller and faster than Parquet's defaults for long texts, and byte-stream split
    suits token ids. The file is written under a temporary name, flushed to the disk and renamed.
    """
    ids = [f.name for f in table.schema if pa.types.is_list(f.type) and pa.types.is_integer(f.type.value_type)]
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            pq.write_table(
                table,
                file,
                row_group_size=ROW_GROUP,
                compression="zstd",
                compression_level=1,
                use_dictionary=False,
                use_byte_stream_split=[f"{name}.list.element" for name in ids],  # pyright: ignore[reportArgumentType]
            )
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            os.unlink(file.name)
            raise
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file so that `path` either holds all of it or keeps what it held."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def file_checksum(path: Path) -> str:
    """Hash a file's bytes (xxh3, 128 bits), reading 1 MiB at a time."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
