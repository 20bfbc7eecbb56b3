"""Texts of models as cells of Prefect's pages: data, never markup.

Prefect's page renders every table cell and description as Markdown with some HTML. Measured on 3.7.7: an <img> or a
![](...) in a cell fetches its address, so that a model's answer could tell a stranger who reads it. A code span is the
one form that the old page, the new page (plain text) and CommonMark all leave alone.
"""

import math
import re
import unicodedata
from typing import Any  # JSON values

_HARMLESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9 ,/%+-]*[A-Za-z0-9%])?")  # begins no list, has no mark of any kind
_TURNS_TEXT = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A)), "\u200e", "\u200f", "\u061c"}
CELL_CHARS = 300


def cell(value: Any, most_chars: int = CELL_CHARS) -> Any:
    """Give a value as a cell: rounded where it is a number, "" where it is none, inert where it is a text."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return round(value, 4)
    return code_span(str(value), most_chars)


def code_span(text: str, most_chars: int = CELL_CHARS) -> str:
    """Give a text on one line as a Markdown code span, or as it is where it has nothing to neutralise.

    The fence is one backtick longer than any run in the text, so that the text can't close it.
    """
    line = " ".join(_visible(text[: 2 * most_chars]).split())
    line = f"{line[: most_chars - 1]}…" if len(line) > most_chars or len(text) > 2 * most_chars else line
    if not line or _HARMLESS.fullmatch(line):
        return line
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}"


def _visible(text: str) -> str:
    """Replace what is no character (NUL and other controls, half a surrogate pair); leave out what turns text round."""
    return "".join(
        "\ufffd" if unicodedata.category(char) in ("Cc", "Cs") and not char.isspace() else char
        for char in text
        if char not in _TURNS_TEXT
    )
