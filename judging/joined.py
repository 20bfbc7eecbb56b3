"""Candidates joined by id with their prompts and scores, as columns in an order that does not hang on the input's."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Joined:
    """One entry a candidate, ordered by prompt, then sample index, then id.

    Attributes:
        row: Row in the candidates table.
        prompt: Row in the prompts table.
        score: NaN where unscored.
        length: Characters of the text.
    """

    row: Ints
    prompt: Ints
    score: Floats
    length: Ints


def join_candidates(prompts: pa.Table, candidates: pa.Table, scores: pa.Table) -> Joined:
    """Find the prompt and the score of each candidate.

    Raises:
        ValueError: If a candidate has no prompt or not exactly one score row, or an id stands twice.
    """
    _check_distinct(candidates["candidate_id"], "candidate")
    prompt = _locate(candidates["prompt_id"], prompts["prompt_id"], "prompt")
    scored = _locate(candidates["candidate_id"], scores["candidate_id"], "score")
    score = scores["score"].to_numpy().astype(np.float64)[scored]
    length = pc.utf8_length(candidates["text"]).to_numpy().astype(np.int64)
    row = _canonical_order(prompt, candidates)
    return Joined(row, prompt[row], score[row], length[row])


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
