"""Indices of eval sets on disk, each built once and then shared by all processes of a machine.

A worker that starts would otherwise read the eval sets again, and hold an index of its own: a file that is mapped into
memory is there once. It is named by what it was made of, so one that stands is right; a damaged one is built anew.
"""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from filtering.checksums import file_checksum
from filtering.overlap.eval_sets import EvalSet, read_texts
from filtering.overlap.index import VERSION, EvalIndex, build_index
from filtering.whole_file import whole_file

log = logging.getLogger(__name__)

_HEADER = 6  # numbers before the arrays: n, then the lengths of keys, occurrences, texts and whole, and the sum of all


def describe_sets(sources: Sequence[EvalSet]) -> list[list[str | None]]:
    """Name eval sets by what they hold; the order they are given in does not matter.

    Raises:
        OSError: A file can't be read.
    """
    return sorted(
        ([file_checksum(one.path), one.path.suffix, one.column] for one in sources),
        key=lambda said: [part or "" for part in said],
    )


def load_index(sources: Sequence[EvalSet], n: int) -> EvalIndex:
    """Give the index of eval sets, from memory, from disk or built now.

    Raises:
        ValueError: A file is no eval set.
        OSError: A file can't be read.
    """
    return _load(tuple(sources), n, json.dumps([VERSION, n, describe_sets(sources)]))


@lru_cache(maxsize=4)
def _load(sources: tuple[EvalSet, ...], n: int, said: str) -> EvalIndex:
    path = _folder() / f"{hashlib.blake2b(said.encode(), digest_size=16).hexdigest()}.npy"
    if (stored := _read(path)) is not None:
        return stored
    index = build_index([text for source in sources for text in read_texts(source)], n)
    log.info(
        "indexed %d eval texts by %d-grams; %d, short or alike, are found as a whole only",
        len(index.n_own), n, int((index.n_own == 0).sum()),
    )  # fmt: skip
    _write(path, index)
    return index


def _folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "prefloop" / "contamination"


def _read(path: Path) -> EvalIndex | None:
    try:
        stored = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        log.warning("%s is damaged (%s): it is built anew", path, error)
        return None
    if stored.dtype != np.uint64 or stored.ndim != 1 or len(stored) < _HEADER:
        log.warning("%s is damaged (no index begins so): it is built anew", path)
        return None
    header = stored[:_HEADER].astype(np.int64)
    n, n_keys, n_found, n_texts, n_whole, total = header.tolist()
    bounds = np.cumsum([_HEADER, n_keys, n_keys + 1, n_found, n_found, n_texts, n_whole])
    if total != len(stored) or total != bounds[-1]:
        log.warning("%s is damaged (%d numbers in place of %d): it is built anew", path, len(stored), total)
        return None
    keys, starts, text, position, n_own, whole = np.split(stored[: bounds[-1]], bounds[:-1])[1:]
    return EvalIndex(
        n, keys, starts.view(np.int64), text.view(np.int64), position.view(np.int64), n_own.view(np.int64), whole
    )


def _write(path: Path, index: EvalIndex) -> None:
    arrays = [index.keys, index.starts, index.text, index.position, index.n_own, index.whole]
    lengths = [index.n, len(index.keys), len(index.text), len(index.n_own), len(index.whole)]
    total = _HEADER + sum(len(array) for array in arrays)
    stored = np.concatenate([np.array([*lengths, total], dtype=np.uint64), *(one.view(np.uint64) for one in arrays)])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            np.save(file, stored)
    except OSError as error:
        log.warning("the index of the eval sets can't be stored (%s): each process builds it", error)
