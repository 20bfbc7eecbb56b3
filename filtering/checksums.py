"""Files that filters read beside the pairs, named by what they hold."""

import os
from functools import lru_cache
from pathlib import Path

import xxhash


def file_checksum(path: Path) -> str:
    """Hash a file's bytes (xxh3, 128 bits); a file of the same size and time of change is not read again.

    Raises:
        OSError: It can't be read.
    """
    facts = os.stat(path)
    return _checksum(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=256)
def _checksum(path: Path, _size: int, _changed_ns: int) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
