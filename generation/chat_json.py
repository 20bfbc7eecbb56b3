"""JSON of chat requests and replies: a body in, bytes out; bytes in, an object out. No text can make either fail.

Half a surrogate pair is a character that UTF-8 and Parquet do not take; decoders of broken text leave it. On both ways
each becomes U+FFFD, as in decoders that replace.
"""

import json
import re
from typing import Any  # JSON values

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # a whole pair is one character by now


def write_body(body: dict[str, Any]) -> bytes:
    """Write a request's body."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _LONE_SURROGATE.sub("\ufffd", text).encode()


def read_object(content: bytes) -> dict[str, Any] | None:
    """Read a reply; None = it is no JSON object."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if b"\\ud" in content.lower():
        body = json.loads(_LONE_SURROGATE.sub("\ufffd", json.dumps(body, ensure_ascii=False)))
    return body if isinstance(body, dict) else None
