"""Texts as 128-bit numbers: among a billion different ones two are equal with a chance of about 1 in 10^21."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from filtering.filter import Ints

_HALF = 2**64 - 1
# Lower case, and a space for each kind of ASCII white space; NUL too, which then can part texts.
_PLAIN = bytes(ord(" ") if code in (0, *range(9, 14), *range(28, 32)) else code for code in range(128)).lower()
_PLAIN += bytes(range(128, 256))
# Rows that are worked on at a time: their texts stay in the processor's cache.
_ROWS = 500


def hash_texts(texts: Iterable[bytes | memoryview]) -> pa.Table:
    """Hash each text (xxh3, 128 bits) into two columns of 64, `low` and `high`."""
    hashes = [xxhash.xxh3_128_intdigest(text) for text in texts]
    low = np.array([one & _HALF for one in hashes], dtype=np.uint64)
    high = np.array([one >> 64 for one in hashes], dtype=np.uint64)
    return pa.table({"low": low, "high": high})


def plain_texts(texts: pa.ChunkedArray) -> list[memoryview]:
    """Give texts in NFKC form, in lower case, trimmed and with each run of white space as one space, as UTF-8.

    Texts of ASCII alone, which are most, need no Unicode tables: that is three times as fast.
    """
    whole: pa.LargeStringArray = texts.cast(pa.large_string()).combine_chunks()
    is_foreign = pc.invert(pc.string_is_ascii(whole))
    if pc.any(is_foreign).as_py():
        foreign = pc.utf8_lower(pc.utf8_normalize(whole.filter(is_foreign), "NFKC"))
        foreign = pc.replace_substring_regex(foreign, r"[\p{Z}\x{85}]", " ")
        whole = pc.replace_with_mask(whole, is_foreign, foreign)
    return [text for start in range(0, len(whole), _ROWS) for text in _single_spaced(whole.slice(start, _ROWS))]


def number_groups(low: np.ndarray, high: np.ndarray) -> Ints:
    """Give equal numbers to rows with equal hashes: 0, 1, 2, ... in the order of the hashes."""
    order = np.lexsort((low, high))
    is_new = np.ones(len(order), dtype=np.int64)
    is_new[1:] = (low[order][1:] != low[order][:-1]) | (high[order][1:] != high[order][:-1])
    groups = np.empty(len(order), dtype=np.int64)
    groups[order] = np.cumsum(is_new) - 1
    return groups


def _single_spaced(texts: pa.LargeStringArray) -> list[memoryview]:
    """Shorten runs of white space in the one buffer that holds all texts: a third of the cost of one by one."""
    _, offsets, data = texts.buffers()
    offsets = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    plain = data[offsets[0] : offsets[-1]].to_pybytes().translate(_PLAIN) if data else b""
    codes = np.frombuffer(plain, np.uint8)
    is_space = codes == ord(" ")
    is_more = np.append(False, is_space[1:] & is_space[:-1])[: len(codes)]
    before = np.flatnonzero(is_more)
    ends = offsets - offsets[0]
    ends = ends - np.searchsorted(before, ends)
    codes = np.append(codes[~is_more], np.uint8(ord(" ")))
    # One space at most is left at each end; a text of nothing but white space ends before it begins.
    starts = ends[:-1] + (codes[ends[:-1]] == ord(" "))
    ends = np.maximum(ends[1:] - (codes[ends[1:] - 1] == ord(" ")), starts)
    view = memoryview(codes.data)
    return [view[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
