"""What judges keep of the replies they got: their texts, tokens and cost."""

import json
from typing import TypeVar

from judging.asking.chat import Choice, Reply
from judging.asking.quoting import mend_halves

_Number = TypeVar("_Number", int, float)


def join_replies(replies: list[Reply]) -> str | None:
    """Write down what a judge replied: one text as it is, several as a JSON list; without any, what went wrong."""
    texts = [choice.text for reply in replies for choice in reply.choices]
    texts = texts or [reply.detail for reply in replies if reply.detail][:1]
    if len(texts) > 1:
        return mend_halves(json.dumps(texts, ensure_ascii=False))
    return mend_halves(texts[0]) if texts else None


def sum_known(counts: list[_Number | None]) -> _Number | None:
    """Add up what is known; None = nothing is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None  # type: ignore[return-value]  the sum of one type is of that type


def find_cut(choice: Choice) -> str | None:
    """Give the reason for which a text is not whole: truncated, content_filter; None = it is."""
    if choice.finish_reason == "length":
        return "truncated"
    return "content_filter" if choice.finish_reason == "content_filter" else None
