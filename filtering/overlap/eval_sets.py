"""Files of evaluation questions in, their texts out."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any  # JSON and Arrow values

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, field_validator

_COLUMNS = ("messages", "prompt", "question", "problem", "instruction", "text", "turns")
_FORMATS = (".jsonl", ".csv", ".parquet", ".txt")


class EvalSet(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """A file of evaluation texts."""

    path: Path
    """JSONL, CSV or Parquet with a text in each row, or a .txt with one in each line."""
    column: str | None = None
    """The column of the texts; null = the first of messages, prompt, question, problem, instruction, text, turns."""

    @field_validator("path")
    @classmethod
    def _is_a_known_file(cls, path: Path) -> Path:
        if not path.is_file():
            raise ValueError(f"{path} is not a file: give the path of an eval set")
        if path.suffix not in _FORMATS:
            raise ValueError(f"{path} ends in {path.suffix!r}: give one of {', '.join(_FORMATS)}")
        return path


def read_texts(source: EvalSet) -> list[str]:
    """Read the texts of an eval set, conversations without the answers at their end.

    Raises:
        ValueError: The file is empty or damaged, has no such column, or a row has no text; file, row and column are
            named.
    """
    read = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet, ".txt": _read_lines}
    try:
        rows = list(read[source.path.suffix](source.path))
    except (UnicodeDecodeError, csv.Error, pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"eval_sets: {source.path} can't be read ({error}): give it as UTF-8, whole") from error
    if not rows:
        raise ValueError(f"eval_sets: {source.path} holds no rows: give a file with texts, or leave it out")
    column = source.column or next((name for name in _COLUMNS if name in rows[0]), None)
    if column is None or column not in rows[0]:
        wanted = f"column {column!r}" if column else f"column {', '.join(_COLUMNS)}"
        raise ValueError(
            f"eval_sets: {source.path} has no {wanted}; it has {', '.join(rows[0])}: name one of them as `column`"
        )
    return [_as_text(row.get(column), f"eval_sets: {source.path}, row {i}, {column}") for i, row in enumerate(rows, 1)]


def _read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # numbers of many digits and deep nesting, too
                raise ValueError(f"eval_sets: {path}, line {number} is no JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"eval_sets: {path}, line {number} is no JSON object, but {type(row).__name__}")
            yield row


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 1):
            if None in row:
                raise ValueError(f"eval_sets: {path}, row {number} has more cells than the header: quote its commas")
            yield row


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield from batch.to_pylist()


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        yield from ({"text": line} for line in file if line.strip())


def _as_text(value: Any, where: str) -> str:
    if isinstance(value, list):
        text = "\n".join(_contents(value, where))
    elif isinstance(value, str):
        text = value
    else:
        raise ValueError(f"{where}: {type(value).__name__} in place of a text or a list of messages")
    if not text.strip():
        raise ValueError(f"{where} is empty: remove the row, or name another `column`")
    return text.encode(errors="replace").decode()  # JSON may hold halves of characters, which Arrow refuses


def _contents(messages: list[Any], where: str) -> list[str]:
    """Give the texts of messages, or of turns; what answers the last question is no part of it."""
    while messages and isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant":
        messages = messages[:-1]
    found = [message.get("content") if isinstance(message, dict) else message for message in messages]
    texts = [text for text in found if isinstance(text, str)]
    if len(texts) < len(found):
        raise ValueError(f"{where}: a list of something else than messages or texts")
    return texts
