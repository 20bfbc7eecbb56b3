"""Candidates and their scores in, the columns that a comparison works on out."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class ScoredAnswers:
    """One policy's answers with one judge's scores, ordered by prompt and sample; every array has shape `(answers,)`."""

    prompt_id: np.ndarray
    """Strings, ascending."""
    sample_index: np.ndarray
    """Integers, ascending within a prompt."""
    text: np.ndarray
    """Python strings."""
    score: np.ndarray
    """The judge's unit; NaN = unscored."""
    n_tokens: np.ndarray
    """Floats; NaN = unknown."""


def scored_answers(candidates: pa.Table, scores: pa.Table) -> ScoredAnswers:
    """Join candidates with one judge's scores by `candidate_id`; scores of other candidates are ignored.

    Raises:
        ValueError: When a candidate or a score stands twice (two judges in one table, say), or when a candidate has no
            row in `scores`: an unscored one has a row with a null score.
    """
    for name, table in (("candidates", candidates), ("scores", scores)):
        n_distinct = pc.count_distinct(table["candidate_id"]).as_py()
        if n_distinct != table.num_rows:
            raise ValueError(
                f"{name} has {table.num_rows} rows but {n_distinct} candidate_ids; pass one judge and one row each"
            )
    row = pc.index_in(candidates["candidate_id"], value_set=scores["candidate_id"].combine_chunks())
    if row.null_count:
        missing = candidates["candidate_id"].filter(pc.is_null(row))[0].as_py()
        raise ValueError(
            f"{row.null_count} of {candidates.num_rows} candidates have no row in scores, such as {missing}"
        )
    order = pc.sort_indices(candidates, sort_keys=[("prompt_id", "ascending"), ("sample_index", "ascending")])
    answers = candidates.take(order)
    return ScoredAnswers(
        prompt_id=np.array(answers["prompt_id"].to_pylist(), dtype=np.str_),
        sample_index=answers["sample_index"].to_numpy(),
        text=np.array(answers["text"].to_pylist(), dtype=object),
        score=_floats(scores["score"].take(row.take(order))),
        n_tokens=_floats(answers["n_tokens"]),
    )


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.float64()).fill_null(float("nan")).to_numpy()
