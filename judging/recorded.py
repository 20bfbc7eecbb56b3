"""Scores brought from elsewhere as a judge: a Parquet or JSONL file with `score` and what it belongs to.

A row belongs to a `candidate_id`, or to a `prompt` and `response`. A prompt is a list of messages, the same as a JSON
text, or any other text, which stands for one user message and nothing else. `aspects`, `uncertainty`, `rationale` and,
without a score, `reason` are carried where the file has them. The file is read in batches, and of prompts and responses
only hashes are kept: about 200 bytes a row that is only a score.
"""

# What a file of someone else's holds is of any type until it is checked.

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from judging.config import RecordedConfig
from judging.judge import Item, Tag, Verdict
from judging.reasons import BUDGET

_COLUMNS = ("candidate_id", "prompt", "response", "score", "aspects", "uncertainty", "rationale", "reason")

Scores = dict[bytes, float | Verdict]
"""What is known of an answer, by the hash of its key; a plain score is kept as a number, for memory."""


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

        Verdicts without a score have the file's reason, else `not_recorded` (no row, or one without a score) or
        `not_finite`.
        """
        for tag, item in tagged:
            yield tag, self._look_up(item)

    def _look_up(self, item: Item) -> Verdict:
        found = self._scores.get(_hash_id(item.candidate_id))
        if found is None:
            found = self._scores.get(_hash_answer(_read_messages(item.messages), item.text))
        if found is None:
            return Verdict(None, reason="not_recorded")
        return found if isinstance(found, Verdict) else Verdict(found)


def read_scores(path: Path) -> Scores:
    """Read a file of scores.

    Raises:
        ValueError: If it is not one; the message names the file and the row or line, counted from 1.
    """
    scores: Scores = {}
    for place, row in _read_rows(path):
        try:
            key, found = _read_key(row), _read_verdict(row)
        except ValueError as error:
            raise ValueError(f"{path}, {place}: {error}") from error
        earlier = scores.setdefault(key, found)
        if _plain(earlier) != _plain(found):
            raise ValueError(
                f"{path}, {place}: score {_plain(found)} contradicts an earlier row of the same answer, which has "
                f"{_plain(earlier)}; keep one of them"
            )
    return scores


def _read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row with the name of its place."""
    if path.suffix not in {".parquet", ".jsonl"}:
        raise ValueError(f"path must end in .parquet or .jsonl, got {path}")
    if not path.is_file():
        raise ValueError(f"path {path} is no file")
    rows = _read_parquet(path) if path.suffix == ".parquet" else _read_lines(path)
    yield from rows


def _read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not Parquet: {error}") from error
    with file:
        names = file.schema_arrow.names
        if "score" not in names or not ("candidate_id" in names or {"prompt", "response"} <= set(names)):
            raise ValueError(f"{path} needs score, and candidate_id or both prompt and response, got {names}")
        number = 0
        for batch in file.iter_batches(columns=[name for name in names if name in _COLUMNS]):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row


def _read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue  # a blank last line is no row
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # ValueError: also bytes that are no UTF-8
                raise ValueError(f"{path}, line {number} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number} must be a JSON object, got {type(row).__name__}")
            yield f"line {number}", row


def _read_key(row: dict[str, Any]) -> bytes:
    candidate_id, prompt, response = (row.get(name) for name in ("candidate_id", "prompt", "response"))
    if isinstance(candidate_id, str):
        return _hash_id(candidate_id)
    if candidate_id is not None:
        raise ValueError(f"candidate_id must be text, got {candidate_id!r:.200}")
    if prompt is None or response is None:
        given = sorted(str(name) for name, value in row.items() if value is not None)
        raise ValueError(f"needs candidate_id, or both prompt and response, got {given}")
    if not isinstance(response, str):
        raise ValueError(f"response must be text, got {response!r:.200}")
    return _hash_answer(_read_prompt(prompt), response)


def _read_prompt(prompt: object) -> list[tuple[str, str]]:
    if isinstance(prompt, str):
        messages = _parse_messages(prompt)
        return [("user", prompt)] if messages is None else messages
    if isinstance(prompt, list):
        return _read_messages(prompt)
    raise ValueError(f"prompt must be text or a list of messages, got {prompt!r:.200}")


def _parse_messages(prompt: str) -> list[tuple[str, str]] | None:
    """Read a prompt that is messages as JSON; None if it is any other text."""
    if not prompt.lstrip().startswith("["):
        return None
    try:
        messages = json.loads(prompt)
        return _read_messages(messages) if messages else None
    except (ValueError, RecursionError):
        return None


def _read_messages(messages: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    read = []
    for message in messages:
        role, content = (message.get(name) if isinstance(message, dict) else None for name in ("role", "content"))
        if not isinstance(role, str) or not isinstance(content, str):
            raise ValueError(f"a message of prompt needs role and content as texts, got {message!r:.200}")
        read.append((role, content))
    return read


def _hash_id(candidate_id: str) -> bytes:
    return _hash(["id", candidate_id])


def _hash_answer(messages: list[tuple[str, str]], response: str) -> bytes:
    return _hash(["answer", messages, response])


def _hash(key: list[Any]) -> bytes:
    # JSON in ASCII writes lone surrogates too, which UTF-8 cannot.
    return hashlib.blake2b(json.dumps(key).encode("ascii"), digest_size=16).digest()


def _read_verdict(row: dict[str, Any]) -> float | Verdict:
    if "score" not in row:
        raise ValueError(f"needs score, got {sorted(map(str, row))}")
    score = _read_number("score", row["score"])
    if score is None:
        reason = _read_text("reason", row.get("reason"))
        # A budget that was spent elsewhere must not stop this judge, which has none.
        return Verdict(None, reason="not_recorded" if reason in (None, BUDGET) else reason)
    if not math.isfinite(score):
        return Verdict(None, reason="not_finite")
    aspects = _read_aspects(row.get("aspects"))
    uncertainty = _read_number("uncertainty", row.get("uncertainty"))
    rationale = _read_text("rationale", row.get("rationale"))
    if aspects is uncertainty is rationale is None:
        return score
    return Verdict(score, aspects=aspects, uncertainty=uncertainty, rationale=rationale)


def _read_number(name: str, value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float | Decimal):
        raise ValueError(f"{name} must be a number or null, got {value!r:.200}")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _read_text(name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be text or null, got {value!r:.200}")
    return value or None


def _read_aspects(value: object) -> dict[str, float] | None:
    """Read a JSON object, a Parquet struct, or a Parquet map, which comes as a list of pairs; parts without a value go.

    Raises:
        ValueError: If it is none of these, or a value is no number.
    """
    if value is None:
        return None
    try:
        aspects = dict(value)  # pyright: ignore[reportCallIssue, reportArgumentType]
    except (TypeError, ValueError) as error:
        raise ValueError(f"aspects must be numbers by name, got {value!r:.200}") from error
    numbers = {str(name): _read_number(f"aspects.{name}", number) for name, number in aspects.items()}
    return {name: number for name, number in numbers.items() if number is not None} or None


def _plain(found: float | Verdict) -> float | str | None:
    """Give the score, or the reason for none, by which two rows of one answer are compared."""
    if not isinstance(found, Verdict):
        return found
    return found.score if found.reason is None else found.reason
