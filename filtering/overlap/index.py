"""The runs of n words of eval texts, as a sorted array that says in which texts each one stands, and where.

A run that stands in many of the texts is a template ("answer with the letter of the right choice"), as GPT-3's authors
found (arXiv 2005.14165, appendix C): it tells nothing, and what else a text has counts alone. A text without runs of
its own, since it is shorter than n words or all template, is found where it stands as a whole.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from filtering.filter import Ints
from filtering.measured import Bools, Floats
from filtering.overlap.words import Grams, Hashes, Words, hash_grams, hash_whole, hash_words

VERSION = 1  # raised by hand when the same texts give another index

_MOST_TEXTS = 10  # texts that a run may stand in and still be one's own
_MOST_BITS = 26  # of the table that says quickly what is not there: 64 MB


@dataclass(frozen=True)
class EvalIndex:
    """What is known of the eval texts.

    Attributes:
        n: Words of a run.
        keys: Hashes of all runs that count, ascending.
        starts: First occurrence of each key, and the number of all.
        text: Number of the text of each occurrence.
        position: Number of its first word in that text.
        n_own: Words of each text that lie in runs that count; 0 = it is found as a whole only.
        whole: Hashes of whole texts, ascending.
    """

    n: int
    keys: Hashes
    starts: Ints
    text: Ints
    position: Ints
    n_own: Ints
    whole: Hashes

    @cached_property
    def _may_be_key(self) -> Bools:
        table = np.zeros(1 << min(_MOST_BITS, 4 + max(8, len(self.keys).bit_length())), dtype=bool)
        table[self.keys >> _shift(table)] = True
        return table

    def find(self, hashes: Hashes) -> tuple[Ints, Ints]:
        """Give where keys stand among these hashes, and the number of each."""
        table = self._may_be_key
        where = np.flatnonzero(table[hashes >> _shift(table)])
        if not where.size:
            return where, where
        at = np.minimum(np.searchsorted(self.keys, hashes[where]), len(self.keys) - 1)
        is_key = self.keys[at] == hashes[where]
        return where[is_key], at[is_key]


def build_index(texts: list[str], n: int) -> EvalIndex:
    """Index eval texts; equal ones count once."""
    words = _distinct(hash_words(pa.array(texts, pa.large_string())))
    grams = hash_grams(words, n)
    order = np.lexsort((grams.position, grams.text, grams.hashes))
    hashes, text, position = grams.hashes[order], grams.text[order], grams.position[order]
    is_new = _changes(hashes)
    key = np.cumsum(is_new) - 1
    n_texts = np.bincount(key[is_new | _changes(text)])
    is_own = n_texts[key] <= _MOST_TEXTS
    hashes, text, position = hashes[is_own], text[is_own], position[is_own]
    first = np.flatnonzero(_changes(hashes))
    by_text = np.lexsort((position, text))
    n_own = np.zeros(len(words.counts), dtype=np.int64)
    np.add.at(n_own, *_covered(text[by_text], position[by_text], n))
    whole = np.unique(hash_whole(words))
    return EvalIndex(n, hashes[first], np.append(first, len(hashes)), text, position, n_own, whole[whole != 0])


def measure_overlap(index: EvalIndex, grams: Grams, n_texts: int) -> Floats:
    """Give the largest share in [0, 1] of an eval text's own words that stand, in runs of n, in each text.

    Args:
        index: The eval texts.
        grams: Runs of n words of the texts.
        n_texts: How many texts there are.
    """
    share = np.zeros(n_texts)
    where, key = index.find(grams.hashes)
    found = np.unique(np.stack([grams.text[where], key]), axis=1)
    counts = index.starts[found[1] + 1] - index.starts[found[1]]
    if not counts.size:
        return share
    at = np.arange(counts.sum()) + np.repeat(index.starts[found[1]] - np.cumsum(counts) + counts, counts)
    row, text, position = np.repeat(found[0], counts), index.text[at], index.position[at]
    order = np.lexsort((position, text, row))
    row, text, position = row[order], text[order], position[order]
    group = np.cumsum(_changes(row) | _changes(text)) - 1
    first = np.flatnonzero(_changes(group))
    _, n_words = _covered(group, position, index.n)
    np.maximum.at(share, row[first], n_words / index.n_own[text[first]])
    return share


def _distinct(words: Words) -> Words:
    """Leave out texts that are equal, word for word, to an earlier one, and those without words."""
    whole = hash_whole(words)
    kept = np.sort(np.unique(whole, return_index=True)[1])
    kept = kept[words.counts[kept] > 0]
    taken = np.repeat(np.isin(np.arange(len(whole)), kept), words.counts)
    return Words(words.hashes[taken], np.concatenate([[0], np.cumsum(words.counts[kept])]))


def _covered(group: Ints, position: Ints, n: int) -> tuple[Ints, Ints]:
    """Count the words that runs of n cover; groups ascending, and positions within each. Give groups and counts."""
    is_last = np.ones(len(group), dtype=bool)
    is_last[:-1] = group[1:] != group[:-1]
    fresh = np.full(len(group), n, dtype=np.int64)
    fresh[:-1] = np.where(is_last[:-1], n, np.minimum(n, np.diff(position)))
    first = np.flatnonzero(_changes(group))
    return group[first], np.add.reduceat(fresh, first) if first.size else first


def _changes(values: np.ndarray) -> Bools:
    """Say where a value differs from the one before it; the first one does."""
    is_new = np.ones(len(values), dtype=bool)
    is_new[1:] = values[1:] != values[:-1]
    return is_new


def _shift(table: Bools) -> np.uint64:
    return np.uint64(65 - len(table).bit_length())
