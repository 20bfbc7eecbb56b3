r"""An answer's text in, what it marks as its result out: a number or a formula.

Marks are `#### n` (GSM8K) and `\boxed{n}` (MATH), the last one of a text. A text without them may state its result on a
line: `A: n`, `Answer: n`, `Final answer: n`, `The answer is n`, the last one again, and only if the number, or a
formula between dollar signs, is all that the statement says. Reading numbers out of other prose rewards whoever writes
many of them.
"""

import re

_MAX_CHARS = 1000  # of a result; a longer one is an attack on the parser

_HASHES = re.compile(r"####[ \t]*([^\n]*)")
_BRACES = re.compile(r"(?P<boxed>\\boxed\s*)?\{|\}")
_STATEMENT = re.compile(
    r"(?:^[ \t>*_#]*(?:A|(?:the |my )?(?:final |correct )?answer)[*_]*[ \t]*:"
    r"|\b(?:final |correct )?answer[*_]*[ \t]+(?:is|equals)(?![^\W_])[ \t]*:?)"
    r"[*_]*[ \t]*\n?(?P<rest>(?:[^\n.]|\.(?!\s))*)",
    re.IGNORECASE | re.MULTILINE,
)
_FORMULA = re.compile(r"\$\$?(?P<dollars>[^$]+)\$\$?|\\\((?P<round>.+)\\\)|\\\[(?P<square>.+)\\\]")
_SCALES = {"dozen": "12", "hundred": "10^{2}", "thousand": "10^{3}", "million": "10^{6}", "billion": "10^{9}"}
# What follows a mark is an answer only if it is a number with at most two words of unit; `#### 1. Set up` is a heading.
_NUMBER = re.compile(
    r"(?P<number>[-+−]?\s*\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s*/\s*\d+)?\s*(?:\\?%)?)"
    rf"(?:\s+(?P<scale>{'|'.join(_SCALES)}))?(?:\s+(?!(?:or|and|{'|'.join(_SCALES)})\b)[^\W\d_]+){{0,2}}",
    re.IGNORECASE,
)


def find_marked(text: str) -> str | None:
    """Give the result that a text marks or states; None if it does neither."""
    found = _find_boxed(text)
    for match in _HASHES.finditer(text):
        number = read_number(match[1])
        if number is not None:
            found[match.start()] = number
    return found[max(found)] if found else _find_stated(text)


def read_number(line: str) -> str | None:
    """Give a line's number without markup and unit; None if the line is anything else."""
    if len(line) > _MAX_CHARS:
        return None
    match = _NUMBER.fullmatch(line.strip(" \t\r*_`$").rstrip(".").strip(" *_`$"))
    if match is None or match["scale"] is None:
        return match and match["number"]
    return match["number"].replace("$", "").replace(",", "") + r" \cdot " + _SCALES[match["scale"].lower()]


def _find_boxed(text: str) -> dict[int, str]:
    r"""Give what each closed `\boxed{...}` holds, by where it starts."""
    found: dict[int, str] = {}
    open_braces: list[re.Match[str]] = []
    for match in _BRACES.finditer(text):
        if match[0] != "}":
            open_braces.append(match)
        elif open_braces:
            opened = open_braces.pop()
            if opened["boxed"] is not None and match.start() - opened.end() <= _MAX_CHARS:
                found[opened.start()] = text[opened.end() : match.start()].strip().rstrip(".")
    return found


def _find_stated(text: str) -> str | None:
    stated = None
    for match in _STATEMENT.finditer(text):
        stated = read_number(match["rest"]) or _read_formula(match["rest"]) or stated
    return stated


def _read_formula(rest: str) -> str | None:
    match = _FORMULA.fullmatch(rest.strip(" \t\r*_`").rstrip(".").strip(" *_`"))
    if match is None or len(rest) > _MAX_CHARS:
        return None
    return (match["dollars"] or match["round"] or match["square"]).strip() or None
