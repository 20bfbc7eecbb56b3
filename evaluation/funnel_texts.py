"""Texts of models in, what a person can read out: hidden characters shown, words that differ marked."""

import re
from dataclasses import dataclass

from rapidfuzz.distance import Indel

from evaluation.funnel_report import Excerpt

# Controls but tab and newline, marks of direction, zero widths, line separators, lone surrogates, and the invisible
# copies of ASCII that instructions are smuggled in with. Joiners stay: emoji and Persian need them.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
# Chinese and Japanese, which put no space between words, by character.
_WORD = re.compile(r"[぀-ヿ㐀-鿿]|[^\W぀-ヿ㐀-鿿]+|[^\w\s]|\s+")
_LEAST_ALIKE = 0.5


@dataclass(frozen=True)
class Piece:
    """Words in a row that stand in the other text as well, or don't."""

    text: str
    differs: bool


@dataclass(frozen=True)
class Side:
    """One of two texts in pieces, with what was cut away around it."""

    pieces: list[Piece]
    n_before: int
    n_after: int


def show_hidden(text: str) -> str:
    """Write characters that can't be seen, or that turn others around, as their number: `⟨U+202E⟩`."""
    return _HIDDEN.sub(_name, text)


def cut(text: str, n_chars: int) -> str:
    """Keep a name to a line or two."""
    return text if len(text) <= n_chars else f"{text[: n_chars - 1]}…"


def mark_differences(first: Excerpt, second: Excerpt) -> tuple[Side, Side]:
    """Split two texts where they differ; texts that share less than half of their words stay whole."""
    words = [_WORD.findall(excerpt.text) for excerpt in (first, second)]
    if Indel.normalized_similarity(*([word for word in side if not word.isspace()] for side in words)) < _LEAST_ALIKE:
        return _side([Piece(first.text, False)], first), _side([Piece(second.text, False)], second)
    pieces: tuple[list[Piece], list[Piece]] = ([], [])
    # Indel works through long runs of one word in a moment, where difflib takes seconds
    for edit in Indel.opcodes(*words):
        differs = edit.tag != "equal"
        pieces[0].append(Piece("".join(words[0][edit.src_start : edit.src_end]), differs))
        pieces[1].append(Piece("".join(words[1][edit.dest_start : edit.dest_end]), differs))
    return _side(pieces[0], first), _side(pieces[1], second)


def _side(pieces: list[Piece], excerpt: Excerpt) -> Side:
    return Side([piece for piece in pieces if piece.text], excerpt.n_before, excerpt.n_after)


def _name(found: re.Match[str]) -> str:
    return f"⟨U+{ord(found[0]):04X}⟩"
