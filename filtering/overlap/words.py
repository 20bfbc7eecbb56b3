"""Texts in; their words, runs of words and whole texts as 64-bit hashes out.

Words are compared in NFKC form, in lower case and without punctuation; a sign of a script that writes no spaces is a
word. All work is done on arrays: a hash of a window of values v is sum_i v_i b^i mod 2^64, from differences of one sum
over the whole block. Two windows that differ have one hash with a chance of about 1 in 10^19: hashes of words are mixed
before they are summed, so that nothing of the letters' structure is left.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filtering.filter import Ints

Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]

_BLOCK_BYTES = 1 << 20  # of text; a block takes some 40 times as much memory
_LETTER_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse
_WORD_BASE = 0xD6E8FEB86659FD93
_UNSPACED = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"
_NO_WORD = r"[^\p{L}\p{M}\p{N}]+"
# 0 for what parts words; beyond ASCII everything that does is a space by then.
_LETTERS = np.array(
    [code if code >= 128 or chr(code).isalnum() else 0 for code in (*range(65), *range(97, 123), *range(91, 256))],
    dtype=np.uint8,
)


@dataclass(frozen=True)
class Words:
    """The words of several texts.

    Attributes:
        hashes: Of each word, text by text.
        offsets: Number of words before each text, and of all.
    """

    hashes: Hashes
    offsets: Ints

    @property
    def counts(self) -> Ints:
        """Words of each text."""
        return np.diff(self.offsets)

    def join(self, offsets: Ints) -> "Words":
        """Join texts to longer ones; `offsets` counts the texts before each of them, and all."""
        return Words(self.hashes, self.offsets[offsets])


@dataclass(frozen=True)
class Grams:
    """The runs of n words of several texts.

    Attributes:
        hashes: Of each run.
        text: Number of its text.
        position: Number of its first word in that text.
    """

    hashes: Hashes
    text: Ints
    position: Ints


def split_blocks(n_bytes: Ints) -> Iterator[slice]:
    """Cut rows with these sizes into blocks that fit into memory, at least one row each."""
    block = (np.cumsum(n_bytes) - n_bytes) // _BLOCK_BYTES
    cuts = [*np.flatnonzero(np.diff(block, prepend=-1)).tolist(), len(n_bytes)]
    yield from (slice(start, end) for start, end in pairwise(cuts))


def hash_words(texts: pa.LargeStringArray) -> Words:
    """Hash the words of each text."""
    # A space behind each, so that no word goes on in the next text.
    plain = pc.binary_join_element_wise(_fold(texts), *(pa.scalar(part, pa.large_string()) for part in ("", " ")))
    _, offsets, data = plain.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64)[plain.offset : plain.offset + len(plain) + 1]
    letters = _LETTERS[np.frombuffer(data or b"", dtype=np.uint8)[bounds[0] : bounds[-1]]]
    edges = np.flatnonzero(np.diff(letters != 0, prepend=False))
    starts, ends = edges[0::2], edges[1::2]
    hashes = _mix(_hash_windows(letters.astype(np.uint64), starts, ends, _LETTER_BASE))
    return Words(hashes, np.searchsorted(starts, bounds - bounds[0]))


def hash_grams(words: Words, n: int) -> Grams:
    """Hash each run of n words that lies in one text."""
    text = np.repeat(np.arange(len(words.counts)), words.counts)
    starts = np.flatnonzero(text[: max(len(text) - n + 1, 0)] == text[n - 1 :])
    hashes = _hash_windows(words.hashes, starts, starts + n, _WORD_BASE)
    return Grams(hashes, text[starts], starts - words.offsets[text[starts]])


def hash_whole(words: Words) -> Hashes:
    """Hash each text as a whole; 0 = it has no words."""
    return _hash_windows(words.hashes, words.offsets[:-1], words.offsets[1:], _WORD_BASE)


def _fold(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Bring what is not plain ASCII into one form; most texts are, and need no Unicode tables."""
    is_foreign = pc.invert(pc.string_is_ascii(texts))
    if not pc.any(is_foreign).as_py():
        return texts
    foreign = pc.utf8_lower(pc.utf8_normalize(texts.filter(is_foreign), "NFKC"))
    foreign = pc.replace_substring_regex(foreign, _NO_WORD, " ")
    foreign = pc.replace_substring_regex(foreign, _UNSPACED, r" \1 ")
    return pc.replace_with_mask(texts, is_foreign, foreign)


def _hash_windows(values: Hashes, starts: Ints, ends: Ints, base: int) -> Hashes:
    """Hash values[start:end] for each window: (S_end - S_start) / b^start with S_k = sum over i < k of v_i b^i."""
    powers, inverse = _powers(base, _room(len(values)))
    sums = np.zeros(len(values) + 1, dtype=np.uint64)
    np.cumsum(values * powers[: len(values)], out=sums[1:])
    return (sums[ends] - sums[starts]) * inverse[starts]


def _room(size: int) -> int:
    return max(1 << 16, 1 << size.bit_length())


@lru_cache(maxsize=4)
def _powers(base: int, size: int) -> tuple[Hashes, Hashes]:
    """Give base^i and base^-i mod 2^64 for i below `size`."""
    factors = np.empty((2, size), dtype=np.uint64)
    factors[:, 0] = 1
    factors[0, 1:], factors[1, 1:] = base, pow(base, -1, 2**64)
    np.cumprod(factors, axis=1, out=factors)
    return factors[0], factors[1]


def _mix(values: Hashes) -> Hashes:
    """Spread each bit over all (the finisher of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
