"""LLaMA-Factory's ranking rows in ShareGPT form: conversations [{from, value}], chosen and rejected {from, value}.

LLaMA-Factory takes the roles by position: human and gpt in turn, human last, a system prompt only first. It empties
rows that are otherwise and trains on, so they are not written.
"""

import pyarrow as pa

from filtering.formats.format import BadPairError, Format, Row
from filtering.formats.messages import Messages, split_conversations, take_message, take_messages

_MESSAGE = pa.struct([("from", pa.string()), ("value", pa.string())])
_SCHEMA = pa.schema(
    [("conversations", pa.list_(_MESSAGE)), ("chosen", _MESSAGE), ("rejected", _MESSAGE), ("system", pa.string())]
)
_ROLES = {"human": "user", "gpt": "assistant", "observation": "tool", "function_call": "assistant"}


def _read(row: Row) -> Row:
    prompt = [_rename(one) for one in take_messages(row, "conversations", "from", "value")]
    sides = (take_message(row.get(side), side, "from", "value") for side in ("chosen", "rejected"))
    chosen, rejected = ([_rename(side)] for side in sides)
    return split_conversations(read_system(row) + prompt, chosen, rejected) if prompt else _no_prompt()


def _rename(message: dict[str, str]) -> dict[str, str]:
    return {"role": _ROLES.get(message["role"], message["role"]), "content": message["content"]}


def _no_prompt() -> Row:
    raise BadPairError("empty_prompt")


def read_system(row: Row) -> Messages:
    """Give the column `system` as a message; an empty one is none, as LLaMA-Factory takes it."""
    system = row.get("system")
    return [{"role": "system", "content": system}] if isinstance(system, str) and system else []


def take_turns(pair: Row) -> tuple[str, Messages]:
    """Give the system prompt ("" = none) and the turns of a prompt.

    Raises:
        BadPairError: Users and the assistant do not take turns (`roles_not_in_turn`).
    """
    messages: Messages = pair["messages"]
    has_system = messages[0]["role"] == "system" and bool(messages[0]["content"])
    turns = messages[1:] if has_system else messages
    if [turn["role"] for turn in turns] != ["user", "assistant"] * (len(turns) // 2) + ["user"]:
        raise BadPairError("roles_not_in_turn")
    return messages[0]["content"] if has_system else "", turns


def _write(pair: Row) -> Row:
    system, turns = take_turns(pair)
    return {
        "conversations": [
            {"from": "human" if turn["role"] == "user" else "gpt", "value": turn["content"]} for turn in turns
        ],
        "chosen": {"from": "gpt", "value": pair["chosen"]},
        "rejected": {"from": "gpt", "value": pair["rejected"]},
        "system": system,
    }


SHAREGPT = Format("sharegpt", ("conversations", "chosen", "rejected"), _SCHEMA, ".json", _read, _write, ("system",))
