"""From a source's value to a conversation: a plain question, a list of messages, or such a list as JSON text."""

import json
from typing import Any  # a source's values

Messages = list[dict[str, str]]


class BadPromptError(ValueError):
    """A row holds no conversation that can be answered; the message is the snake-case reason."""

    @property
    def reason(self) -> str:
        """Why, as the drop ledger writes it."""
        return str(self)


def parse_messages(value: Any, system_prompt: str | None) -> Messages:
    """Read a conversation and put the system prompt before it, unless it brings one of its own.

    Args:
        value: A question, a list of {role, content}, such a list as JSON text, or None.
        system_prompt: Content of the system message; None = none.

    Raises:
        BadPromptError: `empty_prompt`, `bad_messages` (not all are role and content texts) or `last_not_user`.
    """
    messages = _messages(_from_json(value))
    if not messages:
        raise BadPromptError("empty_prompt")
    if messages[-1]["role"] != "user":
        raise BadPromptError("last_not_user")
    if not messages[-1]["content"].strip():
        raise BadPromptError("empty_prompt")
    if system_prompt is not None and messages[0]["role"] != "system":
        return [{"role": "system", "content": system_prompt}, *messages]
    return messages


def _messages(value: Any) -> Messages:
    if value is None:
        return []
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not _is_conversation(value):
        raise BadPromptError("bad_messages")
    return [{"role": message["role"], "content": message["content"]} for message in value]


def _from_json(value: Any) -> Any:
    """Read JSON text that holds a conversation, as CSV files carry it; any other text is a question."""
    if not (isinstance(value, str) and value.lstrip().startswith("[")):
        return value
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        return value
    return parsed if parsed and _is_conversation(parsed) else value


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(message, dict) and isinstance(message.get("role"), str) and isinstance(message.get("content"), str)
        for message in value
    )
