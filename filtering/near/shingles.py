"""Prompts in, the sets that stand for them out: hashes of runs of words, or of characters where words are few.

Prompts are compared in NFKC form, in lower case and without punctuation. A character of a script that is written
without spaces counts as a word. A set is 32 bits of each shingle's hash, sorted: two shingles of a pair of prompts with
100 each are taken for one with a chance of 2 in a million, which moves their Jaccard similarity by 0.01.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from filtering.filter import Ints

UInt32s = np.ndarray[tuple[int], np.dtype[np.uint32]]
UInt64s = np.ndarray[tuple[int], np.dtype[np.uint64]]

WORDS_A_SHINGLE = 3
CHARS_A_SHINGLE = 5

_ASCII = bytes(code if bytes([code]).isalnum() else ord(" ") for code in range(128)).lower() + bytes(range(128, 256))
_FOREIGN_PUNCTUATION = r"[^\p{L}\p{M}\p{N}\x00-\x7f]+"
_WITHOUT_SPACES = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits without pattern: 2^64 / golden ratio


@dataclass(frozen=True)
class Sets:
    """Sets of 32-bit numbers, one after the other; row i is values[offsets[i] : offsets[i + 1]], ascending."""

    values: UInt32s
    offsets: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> Ints:
        """How many numbers each set has."""
        return np.diff(self.offsets)


def plain_words(texts: pa.ChunkedArray) -> pa.ListArray:
    """Split texts into their words in lower case, punctuation left out."""
    whole: pa.LargeStringArray = pc.fill_null(texts, "").cast(pa.large_string()).combine_chunks()
    is_foreign = pc.invert(pc.string_is_ascii(whole))
    if pc.any(is_foreign).as_py():
        foreign = pc.utf8_lower(pc.utf8_normalize(whole.filter(is_foreign), "NFKC"))
        foreign = pc.replace_substring_regex(foreign, _FOREIGN_PUNCTUATION, " ")
        foreign = pc.replace_substring_regex(foreign, _WITHOUT_SPACES, r" \1 ")
        whole = pc.replace_with_mask(whole, is_foreign, foreign)
    return pc.ascii_split_whitespace(pc.ascii_trim_whitespace(_translate(whole)))


def word_shingles(words: pa.ListArray) -> Sets:
    """Give each row's runs of three words."""
    coded = words.flatten().dictionary_encode()
    distinct = coded.dictionary.cast(pa.large_binary()).to_pylist()
    hashes = np.fromiter(map(xxhash.xxh3_64_intdigest, distinct), np.uint64, len(distinct))
    return shingle(hashes[coded.indices.to_numpy()], np.diff(words.offsets.to_numpy()), WORDS_A_SHINGLE)


def join_words(words: pa.ListArray) -> pa.LargeStringArray:
    """Give each row's words with one space between two."""
    return pc.binary_join(words, pa.scalar(" ", pa.large_string()))


def char_shingles(words: pa.ListArray) -> Sets:
    """Give each row's runs of five characters, one space between words."""
    lines = join_words(words)
    points = np.frombuffer("".join(lines.to_pylist()).encode("utf-32-le"), dtype=np.uint32)
    return shingle(points.astype(np.uint64), pc.utf8_length(lines).to_numpy(), CHARS_A_SHINGLE)


def shingle(units: UInt64s, counts: Ints, length: int) -> Sets:
    """Hash each run of units that lies within one row.

    Args:
        units: What the rows consist of, one row after the other.
        counts: Units of each row.
        length: Units of a run.
    """
    n_runs = max(0, len(units) - length + 1)
    hashed = np.zeros(n_runs, dtype=np.uint64)
    for step in range(length):
        hashed = hashed * _FACTOR + units[step : step + n_runs]
    hashed = (hashed ^ (hashed >> np.uint64(31))) * _FACTOR
    row = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    is_whole = row[:n_runs] == row[len(row) - n_runs :]
    packed = distinct((row[:n_runs] << np.uint64(32) | hashed >> np.uint64(32))[is_whole])
    offsets = np.searchsorted(packed, np.arange(len(counts) + 1, dtype=np.uint64) << np.uint64(32))
    return Sets(packed.astype(np.uint32), offsets)


def distinct(numbers: UInt64s) -> UInt64s:
    """Sort numbers and leave out repeats: 50 times as fast as numpy's `unique`, which hashes them."""
    numbers = np.sort(numbers)
    is_new = np.ones(len(numbers), dtype=bool)
    np.not_equal(numbers[1:], numbers[:-1], out=is_new[1:])
    return numbers[is_new]


def _translate(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Put spaces for ASCII punctuation and lower letters for capitals: bytes of other characters are left alone."""
    _, offsets, data = texts.buffers()
    plain = data.to_pybytes().translate(_ASCII) if data else b""
    return pa.LargeStringArray.from_buffers(len(texts), offsets, pa.py_buffer(plain), None, 0, texts.offset)
