"""An answer's text in, its parts out: words, sentences, Markdown's lists, headings and code blocks, scripts."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

_FENCE = re.compile(r"[ \t]{0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[^\s`]*)[^`]*")
_SENTENCE_END = re.compile(r"[.!?…](?=[\"')\]”’*_]*(?:\s|\Z))|[。！？]")

LINES = {
    "bullets": re.compile(r"[ \t]*[-*+•‣▪][ \t]+\S"),
    "numbered": re.compile(r"[ \t]*\d{1,9}[.)][ \t]+\S"),
    "headings": re.compile(r"[ \t]{0,3}#{1,6}[ \t]+\S"),
}
"""Lines of Markdown by what they are."""
_MARKDOWN_LINES = [*LINES.values(), re.compile(r"[ \t]{0,3}>|[ \t]*\|.*\|[ \t]*$")]
_MARKDOWN = re.compile(r"\*\*\S|__\S[^\n]*__|`[^`\n]+`|\[[^\[\]\n]+\]\([^()\n]+\)")
PLACEHOLDER = re.compile(r"\[[^\[\]\n]+\]")

_JAPANESE = ("HIRAGANA", "KATAKANA", "CJK")
_SCRIPTS = {"han": ("CJK",), "japanese": _JAPANESE}


@dataclass(frozen=True)
class Blocks:
    """An answer cut at its fences.

    Attributes:
        blocks: Language, empty if none is named, and content of each fenced code block that is closed.
        outside: The other lines.
    """

    blocks: list[tuple[str, str]]
    outside: list[str]


def split_blocks(text: str) -> Blocks:
    """Cut fenced code blocks out of an answer."""
    blocks: list[tuple[str, str]] = []
    outside: list[str] = []
    opened: re.Match[str] | None = None
    inside: list[str] = []
    for line in _split_lines(text):
        fence = _FENCE.fullmatch(line)
        if opened is None:
            if fence is None:
                outside.append(line)
            else:
                opened, inside = fence, []
        elif fence is not None and not fence["language"] and fence["fence"].startswith(opened["fence"]):
            blocks.append((opened["language"], "\n".join(inside)))
            opened = None
        else:
            inside.append(line)
    return Blocks(blocks, outside if opened is None else outside + inside)


def count_units(text: str, unit: str) -> int:
    """Count chars, words, sentences, lines or paragraphs; what each is, LengthConfig says."""
    text = text.strip()
    if unit == "chars":
        return len(text)
    if unit == "words":
        return len(text.split())
    if unit == "sentences":
        ends = [match.end() for match in _SENTENCE_END.finditer(text)]
        return len(ends) + any(char.isalnum() for char in text[ends[-1] if ends else 0 :])
    lines = [bool(line.strip()) for line in _split_lines(text)]
    if unit == "lines":
        return sum(lines)
    return sum(line and not before for line, before in zip(lines, [False, *lines], strict=False))


def _split_lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").split("\n")


def is_markdown(text: str) -> bool:
    """Tell whether an answer uses Markdown."""
    split = split_blocks(text)
    return (
        bool(split.blocks)
        or any(pattern.match(line) for line in split.outside for pattern in _MARKDOWN_LINES)
        or _MARKDOWN.search(text) is not None
    )


def share_of_script(text: str, script: str) -> float:
    """Give the share of a text's letters that belong to a script; 0 without letters."""
    letters = {char: count for char, count in Counter(text).items() if char.isalpha()}
    prefixes = _SCRIPTS.get(script, (script.upper(),))
    belong = sum(count for char, count in letters.items() if unicodedata.name(char, "").startswith(prefixes))
    return belong / sum(letters.values()) if letters else 0.0
