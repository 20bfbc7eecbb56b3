r"""What a text says without its form: a slow and careful reading, for the few pairs that may differ in form only.

Form is: Unicode compatibility forms (NFKC), case, runs of white space, Markdown's marks for emphasis, headings, rules,
list items, code and links (the text of a link stays, its target is compared apart), quotation marks, dashes between
words, and the punctuation of sentences. Not form, because it may change what is said: signs, decimal points and commas
inside numbers, operators, brackets, `C++` and `.NET`, superscripts (NFKC would make 5² into 52), a list's numbers,
emoji. Where a text has code, case and punctuation count. A text without any letter or digit is compared as it stands.
"""

import re
import unicodedata
from typing import NamedTuple

_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋]+")
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u2060\ufeff\u00ad\ufe0f]")
_LINK = re.compile(r'!?\[([^\[\]\n]*)\]\(([^()\s]*)(?: +"[^"\n]*")?\)')
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[\w+#.-]*[ \t]*$", re.MULTILINE)
_CODE = re.compile(r"(^[ \t]*(?:```|~~~).*?(?:^[ \t]*(?:```|~~~)[ \t]*$|\Z)|`[^`\n]+`)", re.MULTILINE | re.DOTALL)

_OPENING_MARK = re.compile(r"[\[`~]")
_NO_LETTERS = re.compile(r"[\W_]+")

# Marks at the start of a line, then around words. A sign before a number is no bullet. Spans are bounded, so that a
# text of nothing but opening marks is read in linear time.
_MARKS = [
    (re.compile(r"^[ \t]*([-*_=])(?:[ \t]*\1){2,}[ \t]*$", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*#{1,6}[ \t]+", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*[*•‣◦▪·][ \t]+(?=\S)", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*[-+–—][ \t]+(?=[^\s\d.,$€£(+-])", re.MULTILINE), ""),
    (re.compile(r"^([ \t]*\d{1,9})[.)][ \t]+(?=\S)", re.MULTILINE), r"\1 "),
    (re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]{0,500}?[^\s*])\1(?![\w*])"), r"\2"),
    (re.compile(r"(?<!\w)(_{1,3})(?=[^\s_])([^\n]{0,500}?[^\s_])\1(?!\w)"), r"\2"),
]

_PUNCTUATION = [
    (re.compile("[’‘ʼ]"), "'"),
    (re.compile("[−‐‑]|[–—―](?=\\s*[\\d.$€£])"), "-"),
    (re.compile("[–—―“”„«»‹›。、「」『』《》¿¡]"), " "),
    (re.compile(r"(?<!\w)'|'(?!\w)|(?<!\d)\""), " "),
    # A full stop ends something only before white space or the end; 5! and n! are numbers.
    (re.compile(r"(?<!\d)(?<!\b\w)!(?=[\s.,;:!?]|$)|[.,;:?](?=[\s.,;:!?]|$)"), " "),
]


class Content(NamedTuple):
    """What a text says."""

    text: str
    targets: tuple[str, ...]


def is_same_but_for_spaces(one: str, other: str) -> bool:
    """Say whether two texts are equal after NFKC and white-space normalisation, superscripts told from digits."""
    return one == other or _fold(one).split() == _fold(other).split()


def is_same_but_for_form(one: str, other: str) -> bool:
    """Say whether two texts differ in form only. Links in one of them only are form, other links are not."""
    has_code = any(mark in text for mark in ("`", "~~~") for text in (one, other))
    first, second = read_content(one, keep_case=has_code), read_content(other, keep_case=has_code)
    same_targets = not (first.targets and second.targets) or first.targets == second.targets
    return first.text == second.text and same_targets


def read_content(text: str, *, keep_case: bool) -> Content:
    """Take a text's form away.

    Args:
        text: As it was written.
        keep_case: Leave case and punctuation as they are.
    """
    folded = _fold(text)
    pieces = _CODE.split(folded)
    prose, code = pieces[::2], pieces[1::2]
    targets = tuple(match[2] for piece in prose for match in _LINK.finditer(piece))
    pieces[::2] = [_strip_marks(piece, keep_case) for piece in prose]
    pieces[1::2] = [_FENCE.sub("", piece).strip("`") for piece in code]
    said = " ".join("".join(pieces).split())
    if not any(map(str.isalnum, said)):
        return Content(" ".join(folded.split()), ())
    return Content(said if keep_case else said.casefold(), targets)


def may_be_same(one: str, other: str, chars: int | None) -> bool:
    """Say whether the letters and digits of two texts begin alike: quickly, and always true where only form differs.

    Args:
        one: In NFKC form.
        other: In NFKC form.
        chars: Characters of each text to look at; None = all up to the first mark whose content may be no text.
    """
    heads = (_OPENING_MARK.split(text[:chars], maxsplit=1)[0] for text in (one, other))
    first, second = (_NO_LETTERS.sub("", head.casefold()) for head in heads)
    return first.startswith(second) or second.startswith(first)


def _fold(text: str) -> str:
    """Put compatibility forms into plain ones, with raised and lowered digits marked."""
    if text.isascii():
        return text
    text = _LOWERED.sub(lambda match: f"_{match[0]}", _RAISED.sub(lambda match: f"^{match[0]}", text))
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))


def _strip_marks(prose: str, keep_case: bool) -> str:
    prose = _LINK.sub(r"\1", prose)
    for mark, replacement in _MARKS if keep_case else _MARKS + _PUNCTUATION:
        prose = mark.sub(replacement, prose)
    return prose
