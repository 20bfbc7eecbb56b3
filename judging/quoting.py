"""Text that is judged, laid before a language model so that it cannot pass for the judge's orders or the judge's words.

It stands between lines with a mark that it cannot know, and lines in it that look like a verdict, or like the end of
thoughts, are quoted: a judge that repeats them gives no verdict (arXiv 2410.07137 shows what plain prompts are open to).
"""

import hashlib
import re

THOUGHTS_END = "</think>"
# More than any parser of ours would take for a verdict.
_LIKE_A_VERDICT = re.compile(
    r"[\W_]*(?:[^\W_]{1,20}[\W_]{1,4}){0,3}(?:score|verdict|rating)s?[\W_]{0,8}[:=\uff1a]", re.IGNORECASE
)


def lay_out(parts: dict[str, str], mark: str) -> str:
    """Write texts between marked lines, verdicts in them quoted.

    Args:
        parts: Headings and texts, such as `CONVERSATION` and `ANSWER TO RATE`.
        mark: What `make_mark` gave for these texts.
    """
    return "\n\n".join(f"[{mark} {name}]\n{quote_verdicts(text)}\n[{mark} END]" for name, text in parts.items())


def quote_verdicts(text: str) -> str:
    """Put `> ` before each line that looks like a verdict or ends thoughts."""
    lines = text.splitlines(keepends=True)
    return "".join(f"> {line}" if _LIKE_A_VERDICT.match(line) or THOUGHTS_END in line else line for line in lines)


def make_mark(secret: str, texts: list[str]) -> str:
    """Give a mark that none of the texts contains: 16 hexadecimal digits.

    Args:
        secret: What the authors of the texts do not know: the candidate's id, and which question this is.
        texts: What will stand between the marks.
    """
    mark = digest("mark", secret)
    while any(mark in text for text in texts):
        mark = digest("mark", mark)
    return mark


def digest(purpose: str, text: str) -> str:
    """Hash a text for a purpose: 16 hexadecimal digits; lone surrogates are hashed as they are."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8, person=purpose.encode()).hexdigest()


def make_seed(seed: int, what: str) -> int:
    """Give a question's seed in [0, 2**31): of the judge's own and of what is asked, with room for 64 samples."""
    return int(digest("seed", f"{seed} {what}"), 16) & 0x7FFFFFC0
