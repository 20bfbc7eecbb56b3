"""Scores brought from elsewhere as a judge: a Parquet or JSONL file with `score` and what it belongs to.

A row belongs to a `candidate_id`, or to a `prompt` and `response`. A prompt is a list of messages, or a text, which
stands for one user message and nothing else: a conversation with a system prompt or several turns needs the list.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow.parquet as pq

from judging.config import RecordedConfig
from judging.judge import Item, Tag, Verdict

Key = str | tuple[tuple[tuple[str, str], ...], str]
"""A candidate_id, or the messages of a prompt and the response."""

_COLUMNS = ["candidate_id", "prompt", "response", "score"]


class Recorded:
    """Looks scores up.

    Raises:
        ValueError: On opening, if the file lacks columns, holds anything but scores, or says two things of one answer.
    """

    def __init__(self, config: RecordedConfig) -> None:
        self._path = config.path

    def __enter__(self) -> Self:
        """Read the file."""
        self._scores = read_scores(self._path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget it."""
        del self._scores

    def score(self, tagged: Iterable[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Verdict]]:
        """Yield the score of each item, in order.

        Verdicts without a score have the reason `not_recorded` (no row, or one without a score) or `not_finite`.
        """
        for tag, item in tagged:
            yield tag, self._look_up(item)

    def _look_up(self, item: Item) -> Verdict:
        score = self._scores.get(item.candidate_id)
        if score is None:
            score = self._scores.get((_read_messages(item.messages), item.text))
        if score is None:
            return Verdict(None, reason="not_recorded")
        return Verdict(score) if math.isfinite(score) else Verdict(None, reason="not_finite")


def read_scores(path: Path) -> dict[Key, float | None]:
    """Read a file of scores.

    Raises:
        ValueError: If it is not one; the message names the file and the row, counted from 1.
    """
    scores: dict[Key, float | None] = {}
    for number, row in enumerate(_read_rows(path), start=1):
        try:
            key, score = _read_key(row), _read_score(row)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, row {number}: {error}") from error
        if key in scores and not _is_same(scores[key], score):
            raise ValueError(
                f"{path}, row {number}: score {score} contradicts an earlier row of the same answer, which has "
                f"{scores[key]}; keep one of them"
            )
        scores[key] = score
    return scores


def _read_rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            columns = [name for name in file.schema_arrow.names if name in _COLUMNS]
            for batch in file.iter_batches(columns=columns):
                yield from batch.to_pylist()
    elif path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as lines:
            # A blank last line is no row; JSON itself reports what else is wrong.
            yield from (_read_line(path, number, line) for number, line in enumerate(lines, start=1) if line.strip())
    else:
        raise ValueError(f"path must end in .parquet or .jsonl, got {path}")


def _read_line(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {number} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"{path}, line {number} must be a JSON object, got {type(row).__name__}")
    return row


def _read_key(row: dict[str, Any]) -> Key:
    if row.get("candidate_id") is not None:
        return str(row["candidate_id"])
    prompt, response = row.get("prompt"), row.get("response")
    if prompt is None or response is None:
        raise ValueError(f"needs candidate_id, or both prompt and response, got {sorted(row)}")
    if isinstance(prompt, str):
        return (("user", prompt),), response
    return _read_messages(prompt), response


def _read_messages(messages: Sequence[dict[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((message["role"], message["content"]) for message in messages)


def _read_score(row: dict[str, Any]) -> float | None:
    if "score" not in row:
        raise ValueError(f"needs score, got {sorted(row)}")
    score = row["score"]
    if score is not None and not isinstance(score, int | float):
        raise ValueError(f"score must be a number or null, got {score!r}")
    return None if score is None else float(score)


def _is_same(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and math.isnan(one) and math.isnan(other))
