"""A lower bound on the edit similarity of two long texts, in time that grows with their length, not its square.

Words at the start of a run of RUN_WORDS that stands exactly once in each text are anchors; the longest chain of anchors
in the same order in both (as in patience diff) cuts the texts into short gaps, and the edits of all gaps together are
one way of editing one text into the other: the best way has no more edits. A gap longer than GAP_CHARS counts as wholly
rewritten, so texts without runs of their own (one sentence a million times) may get 0.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from rapidfuzz.distance import Indel, Levenshtein

RUN_WORDS = 4
GAP_CHARS = 20_000

_WORD = re.compile(r"\S+")


class Anchor(NamedTuple):
    """Where the same word starts in both texts, in characters."""

    one: int
    other: int


def least_similarity(one: str, other: str, scorer: Literal["indel", "levenshtein"]) -> float:
    """Give a similarity in [0, 1] that the texts' normalised similarity is not below."""
    cuts = [Anchor(0, 0), *_chain(_anchors(one, other)), Anchor(len(one), len(other))]
    edits = sum(
        _count_edits(one[start.one : end.one], other[start.other : end.other], scorer) for start, end in pairwise(cuts)
    )
    most = _most_edits(one, other, scorer)
    return 1.0 - edits / most if most else 1.0


def _count_edits(one: str, other: str, scorer: Literal["indel", "levenshtein"]) -> int:
    if one == other:
        return 0
    if max(len(one), len(other)) > GAP_CHARS:
        return _most_edits(one, other, scorer)
    return Indel.distance(one, other) if scorer == "indel" else Levenshtein.distance(one, other)


def _most_edits(one: str, other: str, scorer: Literal["indel", "levenshtein"]) -> int:
    return len(one) + len(other) if scorer == "indel" else max(len(one), len(other))


def _anchors(one: str, other: str) -> list[Anchor]:
    """Give the starts of runs that stand once in each text, in the order of the first."""
    starts = _single_runs(other)
    return [Anchor(at, starts[run]) for run, at in _single_runs(one).items() if run in starts]


def _single_runs(text: str) -> dict[tuple[str, ...], int]:
    """Give where each run of words starts that stands exactly once."""
    found = [(match[0], match.start()) for match in _WORD.finditer(text)]
    words = [word for word, _ in found]
    runs = zip(*(words[start:] for start in range(RUN_WORDS)), strict=False)
    starts, doubled = dict[tuple[str, ...], int](), set[tuple[str, ...]]()
    for run, (_, at) in zip(runs, found, strict=False):
        if starts.setdefault(run, at) != at:
            doubled.add(run)
    return {run: at for run, at in starts.items() if run not in doubled}


def _chain(anchors: Sequence[Anchor]) -> list[Anchor]:
    """Give the longest chain of anchors that rises in both texts."""
    ends, last, before = list[int](), list[int](), list[int]()
    for index, anchor in enumerate(anchors):
        place = bisect_left(ends, anchor.other)
        before.append(last[place - 1] if place else -1)
        ends[place : place + 1], last[place : place + 1] = [anchor.other], [index]
    chain, index = list[Anchor](), last[-1] if last else -1
    while index >= 0:
        chain.append(anchors[index])
        index = before[index]
    return chain[::-1]
