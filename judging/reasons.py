"""Why an answer has no score, sorted: what a message counts together."""

from typing import Literal

BUDGET = "budget"
NO_LOGPROBS = "no_logprobs"

ReasonClass = Literal["parse", "refused", "timeout", "mass", "budget", "too_long", "server", "other"]

_CLASSES: dict[ReasonClass, tuple[str, ...]] = {
    "parse": (
        "empty_reply", "truncated", "no_verdict", "two_verdicts", "not_applicable", "wrong_scale", "not_whole",
        "out_of_range", "unreadable", "wrong_form", "wrong_ids", "missing_samples", "fewer_choices", "invalid_reply",
    ),
    "refused": ("refused", "content_filter"),
    "timeout": ("timeout",),
    "mass": ("mass",),
    "budget": (BUDGET,),
    "too_long": ("too_long",),
    "server": ("server_error", "rate_limited", "connection", "bad_request", "invalid_json", NO_LOGPROBS),
}  # fmt: skip
_CLASS_OF: dict[str, ReasonClass] = {reason: name for name, reasons in _CLASSES.items() for reason in reasons}


def reason_class(reason: str) -> ReasonClass:
    """Sort a reason: parse (the judge's words), refused, timeout, mass, budget, too_long, server; else other."""
    return _CLASS_OF.get(reason, "other")
