r"""HH-RLHF (arXiv 2204.05862): chosen and rejected as whole conversations, "\n\nHuman: ...\n\nAssistant: ...".

The last turn of each side is the answer, all before it the prompt, which both sides have to share. One space after a
turn's colon belongs to the turn's name; everything else stays as it is, an empty turn too, and two turns of one speaker
in a row stay two messages. Conversations that part before the last turn are dropped: people compared whole
conversations, and no single answer explains their choice.
"""

import re

import pyarrow as pa

from filtering.formats.format import BadPairError, Format, Row
from filtering.formats.messages import Messages, answer, check_distinct, split_conversations, take_text

_SCHEMA = pa.schema([("chosen", pa.string()), ("rejected", pa.string())])
_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_NAMES = {role: name for name, role in _ROLES.items()}


def _read(row: Row) -> Row:
    chosen, rejected = (_split_turns(take_text(row, side)) for side in ("chosen", "rejected"))
    return check_distinct(split_conversations([], chosen, rejected))


def _split_turns(text: str) -> Messages:
    """Split a conversation into its turns.

    Raises:
        BadPairError: It has none (`no_turns`), or text before the first (`text_before_turns`).
    """
    before, *parts = _TURN.split(text if text.startswith("\n\n") else "\n\n" + text.lstrip("\n"))
    if not parts:
        raise BadPairError("no_turns")
    if before.strip():
        raise BadPairError("text_before_turns")
    turns = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": _ROLES[name], "content": said.removeprefix(" ")} for name, said in turns]


def _write(pair: Row) -> Row:
    prompt = "".join(_turn(message) for message in pair["messages"])
    return {side: prompt + _turn(answer(pair[side])) for side in ("chosen", "rejected")}


def _turn(message: dict[str, str]) -> str:
    if message["role"] not in _NAMES:
        raise BadPairError("role_not_carried")
    name = _NAMES[message["role"]]
    turn = f"\n\n{name}: {message['content']}"
    if len(_TURN.findall(turn + "\n\n")) > 1:
        raise BadPairError("holds_turn_name")
    return turn


def looks_like_hh(row: Row) -> bool:
    """Whether both sides are texts that begin with the human's turn and have one of the assistant."""
    sides = [row.get(side) for side in ("chosen", "rejected")]
    return all(
        isinstance(side, str) and side.lstrip().startswith("Human:") and "\n\nAssistant:" in side for side in sides
    )


def _unlike(row: Row) -> str | None:
    if row.get("messages") is not None:
        return "the prompt stands in messages"
    prompt = row.get("prompt")
    if prompt is not None and not all(str(row[side]).startswith(str(prompt)) for side in ("chosen", "rejected")):
        return "the prompt stands in prompt, and chosen and rejected do not begin with it"
    return None if looks_like_hh(row) else "chosen or rejected has no Human: turn first, or no Assistant: turn"


HH = Format("hh", ("chosen", "rejected"), _SCHEMA, ".jsonl", _read, _write, unlike=_unlike)
