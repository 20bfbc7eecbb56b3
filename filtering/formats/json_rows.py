"""Rows of JSON files: an object a line, or one array of objects, which is read piece by piece."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any  # JSON values

from filtering.formats.row_batch import SURROGATE, ReadRow, RowBatch, broken, gather, mend
from filtering.formats.text_stream import open_text

_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SPACE = re.compile(r"[ \t\n\r]*")
_PIECE = 1 << 20
_MAX_ROW_CHARS = 256 << 20
_decoder = json.JSONDecoder()


def read_json_lines(path: Path) -> Iterator[RowBatch]:
    """Read a file of one JSON object a line; blank lines are no rows.

    Raises:
        ValueError: A line is something else.
    """
    with open_text(path) as text:
        yield from gather(_lines(text, path))


def read_json(path: Path) -> Iterator[RowBatch]:
    """Read a file of one array of objects, or of one object a line.

    Raises:
        ValueError: It is neither; the message names the row.
    """
    with open_text(path) as text:
        start = ""
        while not start and (piece := text.read(_PIECE)):
            start = piece.lstrip()
    with open_text(path) as text:
        yield from gather(_elements(text, path) if start.startswith("[") else _lines(text, path))


def _lines(text: io.TextIOBase, path: Path) -> Iterator[ReadRow]:
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:  # no JSON, or an integer of more than 4,300 digits
            raise ValueError(f"{path}, line {number}: {error}; each line must be one JSON object") from error
        except RecursionError as error:
            raise ValueError(f"{path}, line {number}: nested too deep to be read") from error
        yield _as_row(value, line, f"{path}, line {number}")


def _elements(text: io.TextIOBase, path: Path) -> Iterator[ReadRow]:
    """Decode one element after another; an array of any length takes the memory of its longest element."""
    buffer = _Buffer(text, path)
    buffer.take("[")
    number = 0
    if buffer.peek() == "]":
        buffer.take("]")
    else:
        while True:
            number += 1
            value, said = buffer.decode(number)
            yield _as_row(value, said, f"{path}, row {number}")
            if buffer.peek() == "]":
                buffer.take("]")
                break
            buffer.take(",", f"after row {number}")
    if after := buffer.peek():
        raise ValueError(f"{path}: {after!r} after the array's end: the file must hold one array of objects")


class _Buffer:
    """The part of a file that is not decoded yet."""

    def __init__(self, text: io.TextIOBase, path: Path) -> None:
        self._text, self._path = text, path
        self._held, self._at = "", 0

    def peek(self) -> str:
        """Give the next character that is no space, "" at the end."""
        while True:
            self._at = _SPACE.match(self._held, self._at).end()  # type: ignore[union-attr]  it matches always
            if self._at < len(self._held) or not self._grow(_PIECE):
                return self._held[self._at : self._at + 1]

    def take(self, wanted: str, where: str = "at the start") -> None:
        """Go past a character."""
        if (found := self.peek()) != wanted:
            what = repr(found) if found else "the file's end"
            raise ValueError(f"{self._path}: {what} {where} in place of {wanted!r}: the file is cut or no JSON array")
        self._at += 1

    def decode(self, number: int) -> tuple[Any, str]:
        """Decode the next element; give it and its text."""
        self.peek()
        while True:
            try:
                value, end = _decoder.raw_decode(self._held, self._at)
            except RecursionError as error:
                raise ValueError(f"{self._path}, row {number}: nested too deep to be read") from error
            except json.JSONDecodeError as error:
                n_held = len(self._held) - self._at
                if n_held < _MAX_ROW_CHARS and self._grow(max(_PIECE, n_held)):
                    continue
                what = f"{error.msg} at character {error.pos - self._at} of it"
                raise ValueError(f"{self._path}, row {number}: {what}; the file is cut or no JSON array") from error
            except ValueError as error:
                raise ValueError(f"{self._path}, row {number}: {error}") from error  # an integer of over 4,300 digits
            said = self._held[self._at : end]
            self._at = end
            return value, said

    def _grow(self, n_chars: int) -> bool:
        piece = self._text.read(n_chars)
        self._held, self._at = self._held[self._at :] + piece, 0
        return bool(piece)


def _as_row(value: Any, said: str, where: str) -> ReadRow:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: a {type(value).__name__} where one JSON object should be")
    if SURROGATE.search(said):
        return ReadRow(broken(said), len(said))
    if _ESCAPED_SURROGATE.search(said):
        mended = mend(value)
        return ReadRow(mended, len(said), mended != value)
    return ReadRow(value, len(said))
