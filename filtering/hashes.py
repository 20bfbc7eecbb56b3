"""Texts as 128-bit numbers: among a billion different ones two are equal with a chance of about 1 in 10^21."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import xxhash

_HALF = 2**64 - 1


def hash_texts(texts: Iterable[bytes]) -> pa.Table:
    """Hash each text (xxh3, 128 bits) into two columns of 64, `low` and `high`."""
    hashes = [xxhash.xxh3_128_intdigest(text) for text in texts]
    low = np.array([one & _HALF for one in hashes], dtype=np.uint64)
    high = np.array([one >> 64 for one in hashes], dtype=np.uint64)
    return pa.table({"low": low, "high": high})
