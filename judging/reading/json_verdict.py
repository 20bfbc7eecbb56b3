"""A language-model judge's JSON reply in, its ratings out; the schemas of such replies.

The rationale stands before the rating in the schema and must in the reply: a rating that was written first was given
without one. A key that comes twice makes an object unfit, as its two values may differ.
"""

import json
import re
from typing import Any  # JSON values

from judging.asking.quoting import mend_halves
from judging.judge import Verdict
from judging.reading.thoughts import find_fault, skip_thoughts
from judging.reading.written_verdict import read_rating

_MAX_STARTS = 64  # braces tried: a reply of nothing but braces must not take time that grows with its square
# One further on in a line may be the answer's, repeated in a broken object whose own rating is another.
_START = re.compile(r"^[ \t]*\{", re.MULTILINE)
_NEXT = re.compile(r"[\s,]*\{")


def rating_schema(min_score: int, max_score: int) -> dict[str, Any]:
    """Give the JSON schema of one rating: `{"rationale": "...", "score": 4}`."""
    score = {"type": "integer", "enum": list(range(min_score, max_score + 1))}
    return _closed({"rationale": {"type": "string"}, "score": score})


def ratings_schema(ids: list[str], min_score: int, max_score: int) -> dict[str, Any]:
    """Give the JSON schema of one rating for each id, in their order."""
    return _closed({name: rating_schema(min_score, max_score) for name in ids})


def parse_json_verdict(reply: str, min_score: int, max_score: int) -> Verdict:
    """Read the rating of a reply that is or holds `{"rationale": "...", "score": 4}`.

    Returns:
        A score in [min_score, max_score] with its rationale, or none with a reason: those of `parse_verdict`, and
        wrong_form for JSON of another form than asked for.
    """
    fault, objects = read_objects(reply)
    readings = [_read(found, min_score, max_score) for found in objects]
    valid = [reading for reading in readings if reading.score is not None]
    if len({reading.score for reading in valid}) > 1:
        return Verdict(None, "two_verdicts", raw_reply=reply)
    if valid:
        return Verdict(valid[-1].score, rationale=valid[-1].rationale, raw_reply=reply)
    return Verdict(None, readings[-1].reason if readings else fault, raw_reply=reply)


def parse_json_verdicts(reply: str, ids: list[str], min_score: int, max_score: int) -> dict[str, Verdict] | str:
    """Read a reply that rates each id: exactly these ids, each once, each with a rating on the scale.

    Returns:
        A verdict for each id; or the reason for having none of them: those of `parse_json_verdict`, and wrong_ids
        where one is missing, unknown or there twice.
    """
    fault, objects = read_objects(reply)
    readings = [_read_all(found, ids, min_score, max_score) for found in objects]
    valid = [reading for reading in readings if not isinstance(reading, str)]
    if not valid:
        return str(readings[-1]) if readings else fault
    if any([one[name].score for name in ids] != [valid[-1][name].score for name in ids] for one in valid):
        return "two_verdicts"
    return valid[-1]


def read_objects(reply: str) -> tuple[str, list[dict[str, Any] | None]]:
    """List the JSON objects of a reply that begin a line or follow another; None stands for one with a key twice.

    Returns:
        The reason for there being none, and the objects; thoughts are skipped.
    """
    said = skip_thoughts(reply)
    fault = find_fault(said) or "no_verdict"
    decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_int_of, parse_constant=str)
    objects: list[dict[str, Any] | None] = []
    start = None if fault == "truncated" else _START.search(said)
    for _ in range(_MAX_STARTS):
        if start is None:
            break
        try:
            found, end = decoder.raw_decode(said, start.end() - 1)
        except (ValueError, RecursionError):
            start = _START.search(said, start.end())
        else:
            objects.append(found)
            start = _NEXT.match(said, end) or _START.search(said, end)
    return fault, objects


def _read(found: dict[str, Any] | None, min_score: int, max_score: int) -> Verdict:
    if found is None or list(found) != ["rationale", "score"] or not isinstance(found["rationale"], str):
        return Verdict(None, "wrong_form")
    value, rationale = found["score"], mend_halves(found["rationale"].strip()) or None
    reading = "unreadable"
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        reading = read_rating(str(value), min_score, max_score)
    elif value is None:
        reading = "not_applicable"
    if isinstance(reading, str):
        return Verdict(None, reading, rationale=rationale)
    return Verdict(float(reading), rationale=rationale)


def _read_all(found: dict[str, Any] | None, ids: list[str], min_score: int, max_score: int) -> dict[str, Verdict] | str:
    if found is None or set(found) != set(ids):
        return "wrong_ids"
    verdicts = {}
    for name in ids:
        value = found[name]
        verdicts[name] = _read(value if isinstance(value, dict) else None, min_score, max_score)
        if verdicts[name].reason is not None:
            return verdicts[name].reason or ""
    return verdicts


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    found = dict(pairs)
    return found if len(found) == len(pairs) else None


def _int_of(digits: str) -> int | str:
    return int(digits) if len(digits) < 20 else digits  # thousands of digits are an error to int
