"""Drop pairs with a text that repeats itself: a model that loops is a known failure, and a chosen loop teaches it.

Four measures, each of which sees what the others miss. A text is its words, white space between them counts as one
space, so that neither padded tables nor indented code look like loops:

- `repeated_ngrams`: share of the words that the most frequent run of three words covers; symbols are no words, and
  three numbers are not counted, so that a sudoku passes (after Gopher, 2112.11446, which takes characters of web pages
  and .18: on chat answers that drops every list with one phrasing, such as "NAME - owned by NAME");
- `compression`: bytes over bytes after zlib level 1: whole sentences that come again, whatever their length (Whisper,
  2212.04356, decodes again above 2.4; of chat answers 1 in 100 is above 2.9, mostly tables and code);
- `repeated_lines`: share of the characters in lines that stood before (Gopher: .2 of web pages; songs have up to .5);
- `character_run`: one character many times.

With these limits 10 of 6,440 published answers of 8 models go, all read: 7 loops without end, an answer that spells out
one phrase a letter at a time, a program of "big big big", a tune of one line.

Left out of Gopher: its 2-, 4- and 5- to 10-grams, which the compression ratio covers here, and repeated paragraphs.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import zlib
from typing import Any, Literal  # Any: JSON values

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field

from filtering.filter import Facts, Filter, FilterConfig, Ints
from filtering.measured import Bools, Floats, Measured

_NGRAM = 3
_SHORTEST_RUN = 5  # of one character that is counted; below it a run is stored as 0
_BLOCK_ROWS = 1024  # a power of two; what is made of so many texts stays in the processor's cache
_ROW_BITS = np.uint64(_BLOCK_ROWS - 1)
_MULTIPLIERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)


class RepetitionConfig(FilterConfig, frozen=True):
    """Drop pairs with a text that repeats itself."""

    name: Literal["repetition"]
    sides: Literal["chosen", "either"] = "chosen"
    """Which side must not repeat itself; a rejected answer that does is a good example of what not to write."""
    min_chars: int = Field(default=200, ge=0)
    """Shorter texts pass all but max_run: in few words three of them soon cover a large part."""
    max_ngram_share: float = Field(default=0.7, gt=0, le=1)
    """Highest share of the words that the most frequent run of three words may cover."""
    max_compression: float = Field(default=5.0, gt=1)
    """Highest number of bytes to one byte after compression; prose has 1.5 to 2.5, code and tables up to 4.5."""
    max_repeated_lines: float = Field(default=0.6, gt=0, le=1)
    """Highest share of the characters that may stand in lines which stood before."""
    max_run: int = Field(default=200, ge=_SHORTEST_RUN)
    """Longest run of one character, white space too; rules under headings and in tables have up to 150."""


def measure(pairs: pa.Table, config: RepetitionConfig) -> pa.Table:
    """Measure the texts of one side or of both."""
    facts = [_measure_side(pairs[side]) for side in _sides(config)]
    return pa.table({f"{side}_{name}": column for side, one in zip(_sides(config), facts, strict=True)
                     for name, column in one.items()})  # fmt: skip


def decide(facts: Facts, config: RepetitionConfig) -> list[Measured]:
    """Hold the four measures of each side against their limits."""
    found = list[Measured]()
    for side in _sides(config):
        short = facts[f"{side}_chars"] < config.min_chars
        for name, limit, reason in (
            ("ngram_share", config.max_ngram_share, "repeated_ngrams"),
            ("compression", config.max_compression, "compression"),
            ("repeated_lines", config.max_repeated_lines, "repeated_lines"),
        ):
            values = facts.floats(f"{side}_{name}")
            values[short] = np.nan  # they are no near misses either
            found.append(Measured(short | (values <= limit), values, limit, reason, side))
        run = facts.floats(f"{side}_run")
        found.append(Measured(run <= config.max_run, run, config.max_run, "character_run", side))
    return found


def _sides(config: RepetitionConfig) -> tuple[Literal["chosen", "rejected"], ...]:
    return ("chosen",) if config.sides == "chosen" else ("chosen", "rejected")


def _measured_by(config: RepetitionConfig) -> dict[str, Any]:
    return {"sides": _sides(config), "zlib": zlib.ZLIB_RUNTIME_VERSION}


def _measure_side(texts: pa.ChunkedArray) -> dict[str, np.ndarray]:
    starts = range(0, max(len(texts), 1), _BLOCK_ROWS)
    blocks = [_measure_block(_one_array(texts.slice(start, _BLOCK_ROWS))) for start in starts]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _one_array(texts: pa.ChunkedArray) -> pa.LargeStringArray:
    array = texts.cast(pa.large_string()).combine_chunks()
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _measure_block(texts: pa.LargeStringArray) -> dict[str, np.ndarray]:
    words = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(texts))
    return {
        "chars": pc.utf8_length(texts).to_numpy().astype(np.uint32),
        "ngram_share": _top_ngram_shares(words),
        "compression": _compressions(pc.binary_join(words, pa.scalar(" ", pa.large_string()))),
        "repeated_lines": _repeated_line_shares(texts),
        "run": _longest_runs(texts.to_pylist()).astype(np.uint32),
    }


def _top_ngram_shares(words: pa.ListArray) -> Floats:
    """Give the share of words that the most frequent n-gram covers; where it overlaps itself, at most 1."""
    coded = words.flatten().dictionary_encode()
    is_word = _look_up(_has(coded.dictionary, r"[\pL\pN]"), coded)
    has_letter = _look_up(_has(coded.dictionary, r"\pL"), coded)[is_word]
    hashed = [xxhash.xxh3_64_intdigest(word) for word in coded.dictionary.cast(pa.large_binary()).to_pylist()]
    hashes = _look_up(np.array(hashed, dtype=np.uint64), coded)[is_word]
    rows = np.repeat(np.arange(len(words)), np.diff(words.offsets.to_numpy()))[is_word]
    top = _top_ngram_counts(hashes, has_letter, rows, len(words))
    return np.minimum(1.0, _NGRAM * top / np.maximum(np.bincount(rows, minlength=len(words)), 1))


def _has(texts: pa.LargeStringArray, pattern: str) -> Bools:
    return pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)


def _top_ngram_counts(hashes: np.ndarray, has_letter: Bools, rows: Ints, n_rows: int) -> Ints:
    """Count the most frequent n-gram with a letter of each row; 0 where none comes twice."""
    top = np.zeros(n_rows, dtype=np.int64)
    n = len(hashes) - _NGRAM + 1
    if n < 1:
        return top
    keys, counted = np.zeros(n, dtype=np.uint64), np.zeros(n, dtype=bool)
    for place, multiplier in enumerate(_MULTIPLIERS):
        keys += hashes[place : place + n] * multiplier
        counted |= has_letter[place : place + n]
    counted &= rows[:n] == rows[_NGRAM - 1 :]
    # 54 bits tell n-grams apart; the row in the others keeps texts apart, and no text depends on its neighbours.
    keys = np.sort((keys[counted] & ~_ROW_BITS) | rows[:n][counted].astype(np.uint64))
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.empty(0, dtype=np.int64)
    counts = np.diff(np.append(starts, len(keys)))
    often = counts > 1
    np.maximum.at(top, (keys[starts[often]] & _ROW_BITS).astype(np.int64), counts[often])
    return top


def _look_up(values: np.ndarray, coded: pa.DictionaryArray) -> np.ndarray:
    return values[coded.indices.to_numpy()]


def _compressions(texts: pa.LargeStringArray) -> Floats:
    contents = texts.cast(pa.large_binary()).to_pylist()
    return np.array([len(content) / len(zlib.compress(content, 1)) for content in contents], dtype=np.float64)


def _repeated_line_shares(texts: pa.LargeStringArray) -> Floats:
    """Give the share of characters in lines that stood before; white space at the ends of lines is not counted."""
    lines = pc.split_pattern(texts, "\n")
    coded = pc.utf8_trim_whitespace(lines.flatten()).dictionary_encode()
    n_chars = _look_up(pc.utf8_length(coded.dictionary).to_numpy(), coded)
    rows = np.repeat(np.arange(len(texts)), np.diff(lines.offsets.to_numpy()))
    keys = (rows << 32) | coded.indices.to_numpy()
    order = np.argsort(keys, kind="stable")
    again = np.zeros(len(keys), dtype=bool)
    again[order[1:]] = keys[order[1:]] == keys[order[:-1]]
    whole = np.bincount(rows, n_chars, len(texts))
    return np.bincount(rows, n_chars * again, len(texts)) / np.maximum(whole, 1)


def _longest_runs(texts: list[str]) -> Ints:
    """Measure the longest run of one character in each text; 0 where it is below `_SHORTEST_RUN`."""
    longest = np.zeros(len(texts), dtype=np.int64)
    chars = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32)
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    same = chars[1:] == chars[:-1]
    same[ends[(ends > 0) & (ends < len(chars))] - 1] = False
    same = same[1:] & same[:-1]  # three in a row
    at = np.flatnonzero(same[2:] & same[:-2])  # where five in a row begin
    if at.size:
        starts = np.flatnonzero(np.append(True, np.diff(at) != 1))
        lengths = np.diff(np.append(starts, len(at))) + _SHORTEST_RUN - 1
        np.maximum.at(longest, np.searchsorted(ends, at[starts], side="right"), lengths)
    return longest


REPETITION = Filter(RepetitionConfig, ("chosen", "rejected"), measure, decide, _measured_by, version=2)
