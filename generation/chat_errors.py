"""Trouble with an OpenAI-compatible server, sorted: what heals, what costs one row, what ends the run.

A retry helps only against what can heal (429, 5xx, a lost connection, a timeout). A refusal of one request (400, 413,
422) is that row's reason. Everything else would hit each row alike and raises at once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openai

TIMEOUT = "timeout"
CONNECTION = "connection"
RATE_LIMITED = "rate_limited"
SERVER_ERROR = "server_error"
TOO_LONG = "too_long"
BAD_REQUEST = "bad_request"
CONTENT_FILTER = "content_filter"
INVALID_JSON = "invalid_json"

_ROW_STATUS = {400, 413, 422}
_HEALING_STATUS = {408: TIMEOUT, 409: SERVER_ERROR, 425: SERVER_ERROR, 429: RATE_LIMITED}
_LONGEST_RETRY_AFTER_S = 600.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why one try of one request gave nothing.

    Attributes:
        reason: Snake-case literal.
        detail: What the server said, for the log.
        heals: Whether another try may succeed.
        retry_after_s: Seconds that the server asks to wait for; None = it did not say.
    """

    reason: str
    detail: str
    heals: bool
    retry_after_s: float | None = None


def sort_status(error: "openai.APIStatusError", address: str, field: str, key: str | None) -> Trouble:
    """Sort an answer with an error status.

    Args:
        error: The SDK's error for it.
        address: The server's base URL, for the message.
        field: Dotted name of the recipe's part with the server's settings, for the message; may be empty.
        key: The API key, which no message may show even where the server's does; None = there is none.

    Returns:
        The trouble, if it is that of one request.

    Raises:
        ValueError: The status concerns every request of the run; the message names the field to fix.
    """
    status = error.status_code
    message = hide_key(error.message, key)[:500]
    if error.code == "insufficient_quota":  # comes as 429, and no waiting heals it
        raise ValueError(f"{address} says that the account's quota is used up ({status}): {message}")
    if status >= 500 or status in _HEALING_STATUS:
        reason = _HEALING_STATUS.get(status, SERVER_ERROR)
        return Trouble(reason, message, heals=True, retry_after_s=read_retry_after(error.response.headers))
    if status in _ROW_STATUS:
        if error.code == CONTENT_FILTER:  # Azure, when the prompt itself sets its filter off
            return Trouble(CONTENT_FILTER, message, heals=False)
        # vLLM "maximum context length is", OpenAI context_length_exceeded, llama.cpp "available context size"
        too_long = status == 413 or "context" in f"{error.code} {message}".lower()
        return Trouble(TOO_LONG if too_long else BAD_REQUEST, message, heals=False)
    raise ValueError(_advice(status, address, field, message))


def hide_key(text: str, key: str | None) -> str:
    """Star out an API key in what a server says; None = there is none."""
    return text.replace(key, "***") if key else text


def is_refused_connection(error: BaseException) -> bool:
    """Say whether no connection came about at all (refused, no such host), as against one that broke."""
    import aiohttp

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return True
        cause = cause.__cause__
    return False


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3: seconds or a date) as seconds in [0, 600]; None where it is not readable."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (date - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_S) if math.isfinite(seconds) else None


def field_name(field: str, name: str) -> str:
    """Name a setting as the recipe does: `generation.engine` and `base_url` give `generation.engine.base_url`."""
    return f"{field}.{name}" if field else name


def _advice(status: int, address: str, field: str, message: str) -> str:
    if status in (401, 403):
        advice = (
            f"set {field_name(field, 'api_key_env')} to the name of an environment variable that holds a valid API key"
        )
    elif status == 404:
        advice = f"fix {field_name(field, 'model')}, or {field_name(field, 'base_url')} (most servers' ends in /v1)"
    else:
        advice = f"check {field_name(field, 'base_url')}"
    return f"{address} answers {status} to every request ({message}): {advice}"
