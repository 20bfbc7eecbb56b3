"""Texts and conversations of foreign rows, checked, and where the prompt of a pair ends and its answers begin."""

from collections.abc import Sequence
from typing import Any  # values of foreign files

from filtering.formats.format import BadPairError, MisfitError, Row

Messages = list[dict[str, str]]


def take_text(row: Row, field: str) -> str:
    """Take a text.

    Raises:
        BadPairError: It is null.
        MisfitError: It is something else.
    """
    value = row.get(field)
    if isinstance(value, str):
        return value
    if value is None:
        raise BadPairError("null_text")
    raise MisfitError(field, value, "a text")


def take_messages(row: Row, field: str, role: str = "role", content: str = "content") -> Messages:
    """Take a list of messages, other fields than role and content left out.

    Args:
        row: A row.
        field: Its column.
        role: The field of a message that says whose it is.
        content: The field that holds its text.

    Raises:
        BadPairError: It is null, or a role or a text in it is.
        MisfitError: It is something else.
    """
    value = row.get(field)
    if value is None:
        raise BadPairError("null_text")
    if not isinstance(value, list):
        raise MisfitError(field, value, f"a list of messages {{{role}, {content}}}")
    return [take_message(message, f"{field}[{at}]", role, content) for at, message in enumerate(value)]


def take_message(value: Any, field: str, role: str = "role", content: str = "content") -> dict[str, str]:
    """Take one message, as `take_messages` does."""
    if value is None:
        raise BadPairError("null_text")
    if not isinstance(value, dict) or role not in value:
        raise MisfitError(field, value, f"a message {{{role}, {content}}}")
    found = {"role": value[role], "content": value.get(content)}
    for name, said in found.items():
        if said is None:
            raise BadPairError("null_text")
        if not isinstance(said, str):
            raise MisfitError(f"{field}.{role if name == 'role' else content}", said, "a text")
    return found


def make_pair(messages: Messages, chosen: str, rejected: str) -> Row:
    """Make a pair of a prompt and two answers.

    Raises:
        BadPairError: There is no prompt (`empty_prompt`), or no user speaks last in it (`last_not_user`).
    """
    if not messages:
        raise BadPairError("empty_prompt")
    if messages[-1]["role"] != "user":
        raise BadPairError("last_not_user")
    if not messages[-1]["content"].strip():
        raise BadPairError("empty_prompt")
    return {"messages": messages, "chosen": chosen, "rejected": rejected}


def split_conversations(prompt: Messages, chosen: Messages, rejected: Messages) -> Row:
    """Make a pair of two conversations whose last messages are the answers; what they share before is prompt.

    Args:
        prompt: What both conversations go on from; may be empty.
        chosen: One answer of the assistant, perhaps with shared messages before it.
        rejected: Likewise.

    Raises:
        BadPairError: There is no answer (`no_answer`), it is not the assistant's (`last_not_assistant`), nothing is
            shared (`no_shared_prompt`), or they part before their last messages (`diverges_earlier`).
    """
    if not chosen or not rejected:
        raise BadPairError("no_answer")
    if chosen[-1]["role"] != "assistant" or rejected[-1]["role"] != "assistant":
        raise BadPairError("last_not_assistant")
    n_shared = _count_shared(chosen[:-1], rejected[:-1])
    shared = prompt + chosen[:n_shared]
    if not shared:
        raise BadPairError("no_shared_prompt")
    if max(len(chosen), len(rejected)) - n_shared > 1:
        raise BadPairError("diverges_earlier")
    return make_pair(shared, chosen[-1]["content"], rejected[-1]["content"])


def check_distinct(pair: Row) -> Row:
    """Give back a pair read of two whole conversations, unless they are the same.

    Raises:
        BadPairError: `identical`.
    """
    if pair["chosen"] == pair["rejected"]:
        raise BadPairError("identical")
    return pair


def only_question(pair: Row) -> str:
    """Give the prompt of a pair as one text.

    Raises:
        BadPairError: It has a system prompt or several turns (`more_than_a_question`): one text can't carry it.
    """
    messages = pair["messages"]
    if len(messages) != 1 or messages[0]["role"] != "user":
        raise BadPairError("more_than_a_question")
    return messages[0]["content"]


def answer(text: str) -> dict[str, str]:
    """Make a text a message of the assistant."""
    return {"role": "assistant", "content": text}


def _count_shared(first: Sequence[object], second: Sequence[object]) -> int:
    n_both = min(len(first), len(second))
    return next((at for at in range(n_both) if first[at] != second[at]), n_both)
