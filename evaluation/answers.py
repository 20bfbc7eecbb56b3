"""Candidates and their scores in, the columns that a comparison works on out."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class ScoredAnswers:
    """One policy's answers with one judge's scores, by prompt and sample; every array has shape `(answers,)`."""

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
        n_distinct = len(table["candidate_id"].unique())
        if n_distinct != table.num_rows:
            raise ValueError(
                f"{name} has {table.num_rows} rows but {n_distinct} candidate_ids; pass one judge and one row each"
            )
    answers = (
        candidates.select(["candidate_id", "prompt_id", "sample_index", "text", "n_tokens"])
        .join(scores.select(["candidate_id", "score"]), keys="candidate_id", join_type="inner")
        .sort_by([("prompt_id", "ascending"), ("sample_index", "ascending"), ("candidate_id", "ascending")])
    )
    if answers.num_rows != candidates.num_rows:
        missing = candidates.num_rows - answers.num_rows
        raise ValueError(
            f"{missing} of {candidates.num_rows} candidates have no row in scores, not even an unscored one"
        )
    return ScoredAnswers(
        prompt_id=np.array(answers["prompt_id"].to_pylist(), dtype=np.str_),
        sample_index=answers["sample_index"].to_numpy(),
        text=np.array(answers["text"].to_pylist(), dtype=object),
        score=_floats(answers["score"]),
        n_tokens=_floats(answers["n_tokens"]),
    )


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.float64()).fill_null(float("nan")).to_numpy()
