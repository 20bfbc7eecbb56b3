"""A language-model judge's written reply in, the rating that it ends with out: `Score: 4`, `**Score:** 4/5`.

A reply without one clear rating gives a reason and no number (a parser that gave "1" to what it could not read, and one
that garbled "10", have spoilt published data). Every rating in the reply is first checked against the scale; what is
none on it does not count, and those that remain must agree.
"""

import re

from judging.judge import Verdict
from judging.reading.thoughts import find_fault, skip_thoughts

# A quoted line (">") never is one.
_VERDICT_LINE = re.compile(r"[\s*_#`]*score[\s*_`]*:", re.IGNORECASE | re.ASCII)
_RATING = re.compile(r"([-+]?[0-9]{1,9})(?:\.([0-9]{1,9}))?(?:\s*(?:/|out of)\s*([0-9]{1,9}))?")
_NOT_APPLICABLE = {"n/a", "na", "none", "not applicable"}
# Only names the reason of a reply that has no verdict anyway.
_REFUSAL = re.compile(
    r"(?:i['’]?m (?:really |very |so )?(?:sorry|afraid|unable|not able)|i am (?:sorry|afraid|unable|not able)|sorry,|"
    r"i apologi[sz]e|i (?:can(?:['’]?t|not)|won['’]?t|will not|must decline)|as an ai\b)",
    re.IGNORECASE,
)


def parse_verdict(reply: str, min_score: int, max_score: int) -> Verdict:
    """Read the rating of a reply's verdict lines.

    Args:
        reply: The judge's text; thoughts up to `</think>` do not count.
        min_score: Lowest rating allowed.
        max_score: Highest rating allowed.

    Returns:
        A score in [min_score, max_score] with the text before it as rationale, or none with a reason: empty_reply,
        truncated (thoughts without an end), refused, no_verdict, two_verdicts (that differ); or what keeps the last
        one from being a rating: not_applicable, wrong_scale ("8/10" on a scale to 5), not_whole, out_of_range,
        unreadable.
    """
    said = skip_thoughts(reply)
    if fault := find_fault(said):
        return Verdict(None, fault, raw_reply=reply)
    lines = said.splitlines(keepends=True)
    places = [place for place, line in enumerate(lines) if _VERDICT_LINE.match(line)]
    readings = [read_rating(lines[place].partition(":")[2], min_score, max_score) for place in places]
    ratings = {reading for reading in readings if isinstance(reading, int)}
    rationale = "".join(lines[: places[-1]] if places else lines).strip() or None
    if len(ratings) == 1:
        return Verdict(float(ratings.pop()), rationale=rationale, raw_reply=reply)
    if ratings:
        return Verdict(None, "two_verdicts", rationale=rationale, raw_reply=reply)
    return Verdict(None, str(readings[-1]) if readings else _name_silence(said), rationale=rationale, raw_reply=reply)


def read_rating(words: str, min_score: int, max_score: int) -> int | str:
    """Give the rating that some words are (`4`, `4.0`, `4/5`), or the reason for which they are none."""
    words = words.strip().strip("*_`.").strip()
    if (match := _RATING.fullmatch(words)) is None:
        return "not_applicable" if words.lower() in _NOT_APPLICABLE else "unreadable"
    whole, fraction, scale = match.groups()
    if scale is not None and int(scale) != max_score:
        return "wrong_scale"
    if fraction is not None and int(fraction):
        return "not_whole"
    return int(whole) if min_score <= int(whole) <= max_score else "out_of_range"


def _name_silence(said: str) -> str:
    return "refused" if _REFUSAL.match(said.lstrip("*_# \n")) else "no_verdict"
