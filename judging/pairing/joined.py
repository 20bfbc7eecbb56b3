"""Candidates joined by id with their prompts and scores, as columns in an order that does not hang on the input's."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from collections.abc import Set
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]

FEWEST_SCORED = 2  # candidates that a pair needs


@dataclass(frozen=True)
class Joined:
    """One entry a candidate, ordered by prompt, then sample index, then id.

    Attributes:
        row: Row in the candidates table.
        prompt: Row in the prompts table.
        scored: Row in the scores table.
        score: NaN where unscored.
        uncertainty: Spread of the judge's opinion in units of the score; NaN = unknown.
        length: Characters of the text.
        truncated: The token limit cut it off; False where that is unknown.
        on_policy: The policy that is trained wrote it.
        text: Equal numbers within a prompt where the texts are equal.
        draw: A number in [0, 1) that hangs on id and seed alone.
    """

    row: Ints
    prompt: Ints
    scored: Ints
    score: Floats
    uncertainty: Floats
    length: Ints
    truncated: Bools
    on_policy: Bools
    text: Ints
    draw: Floats

    def take(self, entries: Ints | slice) -> "Joined":
        """Give some of the entries."""
        return Joined(*(getattr(self, field.name)[entries] for field in fields(self)))


def join_candidates(
    prompts: pa.Table, candidates: pa.Table, scores: pa.Table, on_policy: Set[str] = frozenset(), seed: int = 0
) -> Joined:
    """Find the prompt and the score of each candidate.

    Args:
        prompts: Table of `generation.schema.PROMPTS`.
        candidates: Table of `generation.schema.CANDIDATES`.
        scores: Table of `judging.schema.SCORES` of one judge.
        on_policy: Names of the policies that count as the one that is trained.
        seed: Seed of the draws.

    Raises:
        ValueError: If a candidate has no prompt or not exactly one score row, an id stands twice, or a score is
            infinite.
    """
    _check_distinct(candidates["candidate_id"], "candidate")
    prompt = _locate(candidates["prompt_id"], prompts["prompt_id"], "prompt")
    scored = _locate(candidates["candidate_id"], scores["candidate_id"], "score")
    score = scores["score"].to_numpy().astype(np.float64)[scored]
    if np.isinf(score).any():
        first = candidates["candidate_id"][int(np.flatnonzero(np.isinf(score))[0])]
        raise ValueError(f"score of candidate {first} is infinite: give a number, or null with a reason")
    length = pc.utf8_length(candidates["text"]).to_numpy().astype(np.int64)
    row = _canonical_order(prompt, candidates)
    return Joined(
        row=row,
        prompt=prompt[row],
        scored=scored[row],
        score=score[row],
        uncertainty=scores["uncertainty"].to_numpy().astype(np.float64)[scored][row],
        length=length[row],
        truncated=pc.equal(candidates["finish_reason"], "length").fill_null(False).to_numpy()[row],
        on_policy=pc.is_in(candidates["policy"], value_set=pa.array(sorted(on_policy), pa.string())).to_numpy()[row],
        text=_number_texts(candidates["text"], row, prompt[row], length[row]),
        draw=_draw(candidates["candidate_id"], seed)[row],
    )


def _locate(ids: pa.ChunkedArray, among: pa.ChunkedArray, what: str) -> Ints:
    """Give the row of each id in another column, which holds each id once."""
    _check_distinct(among, what)
    rows = pc.index_in(ids, value_set=among)
    if rows.null_count:
        first = ids.filter(pc.is_null(rows))[0]
        raise ValueError(f"{rows.null_count} of {len(ids)} candidates have no {what} row, the first is {first}")
    return rows.to_numpy().astype(np.int64)


def _check_distinct(ids: pa.ChunkedArray, what: str) -> None:
    n_distinct = pc.count_distinct(ids).as_py()
    if n_distinct != len(ids):
        raise ValueError(f"{len(ids)} {what} rows hold {n_distinct} ids: each id may stand once")


def _canonical_order(prompt: Ints, candidates: pa.Table) -> Ints:
    index = candidates["sample_index"].fill_null(0).to_numpy().astype(np.int64)
    order = np.lexsort((index, prompt))
    same = (np.diff(prompt[order]) == 0) & (np.diff(index[order]) == 0)
    if not same.any():
        return order
    # Answers of several policies, or imported ones, share sample indices; ranking a million ids takes half a second.
    rank = np.argsort(pc.sort_indices(candidates["candidate_id"]).to_numpy())
    return np.lexsort((rank, index, prompt))


def _number_texts(texts: pa.ChunkedArray, row: Ints, prompt: Ints, length: Ints) -> Ints:
    """Number the texts within each prompt; only those of a prompt that have one length are compared."""
    numbers = np.arange(row.size, dtype=np.int64)
    order = np.lexsort((length, prompt))
    like_next = (np.diff(prompt[order]) == 0) & (np.diff(length[order]) == 0)
    suspect = np.zeros(row.size, dtype=bool)
    suspect[:-1] |= like_next
    suspect[1:] |= like_next
    entries = np.sort(order[suspect])
    first: dict[tuple[int, str], int] = {}
    block = 20_000  # texts in one array: an Arrow string array ends at 2 GiB
    large = texts.cast(pa.large_binary())
    for start in range(0, entries.size, block):
        some = entries[start : start + block]
        for entry, text in zip(some.tolist(), large.take(pa.array(row[some])).to_pylist(), strict=True):
            numbers[entry] = first.setdefault((int(prompt[entry]), xxhash.xxh3_128_hexdigest(text)), entry)
    return numbers


def _draw(ids: pa.ChunkedArray, seed: int) -> Floats:
    hashes = np.array([xxhash.xxh3_64_intdigest(id, seed) for id in ids.cast(pa.binary()).to_pylist()], dtype=np.uint64)
    return (hashes >> np.uint64(11)).astype(np.float64) / 2.0**53
