"""A reasoning model's thoughts, kept apart from what it says."""

from judging.asking.quoting import THOUGHTS_END

THOUGHTS_START = "<think>"


def skip_thoughts(reply: str) -> str:
    """Give what comes after the last end of thoughts that is not quoted from what is judged."""
    lines = reply.splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if THOUGHTS_END in line and not line.startswith(">")]
    return "".join([lines[ends[-1]].rpartition(THOUGHTS_END)[2], *lines[ends[-1] + 1 :]]) if ends else reply


def find_fault(said: str) -> str | None:
    """Give the reason for which a reply, its thoughts skipped, can hold no verdict; None = it may.

    empty_reply, or truncated for thoughts without an end.
    """
    said = said.strip()
    if not said:
        return "empty_reply"
    return "truncated" if said.startswith(THOUGHTS_START) else None
