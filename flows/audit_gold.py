"""Gold labels from a file: a score an answer, or which of two answers is better."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any  # rows of tables

import numpy as np
import pyarrow as pa

from judging.audit.audit_agreement import GoldPairs, pairs_of_gold_scores
from judging.audit.audit_measures import PairsWithin

_LABELS = {"first": 1.0, "tie": 0.5, "second": 0.0}


@dataclass(frozen=True)
class Gold:
    """Gold labels by candidate id.

    Attributes:
        scores: How good an answer is.
        labels: First answer, second answer, and 1, 0.5 or 0 for the first.
    """

    scores: dict[str, float] = field(default_factory=dict)
    labels: list[tuple[str, str, float]] = field(default_factory=list)

    def pairs(self, candidate_ids: list[str], prompt: np.ndarray) -> GoldPairs:
        """Label pairs of answers to the same prompt.

        Args:
            candidate_ids: Ids of the answers.
            prompt: Number of each answer's prompt.

        Raises:
            ValueError: A label compares answers to different prompts.
        """
        if self.scores:
            return pairs_of_gold_scores(prompt, np.array([self.scores.get(one, math.nan) for one in candidate_ids]))
        place = {candidate_id: row for row, candidate_id in enumerate(candidate_ids)}
        known = [(place[a], place[b], label) for a, b, label in self.labels if a in place and b in place]
        for a, b, _ in known:
            if prompt[a] != prompt[b]:
                raise ValueError(
                    f"gold compares {candidate_ids[a]} with {candidate_ids[b]}, which answer different prompts"
                )
        first, second, label = (np.array([row[part] for row in known]) for part in range(3))
        return GoldPairs(PairsWithin(first.astype(int), second.astype(int)), label.astype(float))


def read_gold(path: Path, column: str) -> Gold:
    """Read gold labels.

    Args:
        path: Parquet, JSONL or CSV with `candidate_id` and a column of gold scores; or with `first_id`, `second_id`
            and `label` (first, second or tie); or with `chosen_id` and `rejected_id`.
        column: Name of the column of gold scores.

    Raises:
        ValueError: It has none of these, or a value is not what it should be.
    """
    table = _read(path)
    names = set(table.column_names)
    rows = table.to_pylist()
    if {"first_id", "second_id", "label"} <= names:
        return Gold(labels=[(row["first_id"], row["second_id"], _label(path, row)) for row in rows])
    if {"chosen_id", "rejected_id"} <= names:
        return Gold(labels=[(row["chosen_id"], row["rejected_id"], 1.0) for row in rows])
    if {"candidate_id", column} <= names:
        return Gold(scores=_read_scores(path, rows, column))
    raise ValueError(
        f"--gold {path} has the columns {', '.join(sorted(names))}; it needs candidate_id and {column} (or another one "
        "named by --gold-column), or first_id, second_id and label, or chosen_id and rejected_id"
    )


def gold_of_imported(scores: pa.Table) -> Gold:
    """Take the scores of an import for gold."""
    rows = scores.to_pylist()
    return Gold(scores={row["candidate_id"]: row["score"] for row in rows if row["score"] is not None})


def _read(path: Path) -> pa.Table:
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet

    if not path.exists():
        raise FileNotFoundError(f"--gold {path} does not exist")
    try:
        match path.suffix:
            case ".jsonl":
                return pyarrow.json.read_json(path)
            case ".csv":
                return pyarrow.csv.read_csv(path)
            case _:
                return pyarrow.parquet.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"--gold {path} can't be read: {error}; give Parquet, .jsonl or .csv") from error


def _read_scores(path: Path, rows: list[dict[str, Any]], column: str) -> dict[str, float]:
    scores: dict[str, float] = {}
    for row in rows:
        if _is_number(path, row, column) and scores.setdefault(row["candidate_id"], float(row[column])) != row[column]:
            raise ValueError(f"--gold {path}: {row['candidate_id']} has two different values of {column}; keep one")
    return scores


def _label(path: Path, row: dict[str, Any]) -> float:
    if row["label"] not in _LABELS:
        raise ValueError(f"--gold {path}: label must be first, second or tie, got {row['label']!r}")
    return _LABELS[row["label"]]


def _is_number(path: Path, row: dict[str, Any], column: str) -> bool:
    """Tell whether a row has a gold score; null and NaN mean that it has none."""
    value = row[column]
    if value is None:
        return False
    if not isinstance(value, int | float):
        raise ValueError(f"--gold {path}: {column} must be a number, got {value!r} for {row['candidate_id']}")
    return math.isfinite(value)
