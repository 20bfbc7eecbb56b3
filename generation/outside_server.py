"""Sampling from somebody else's OpenAI-compatible server, by chat completions.

Such servers differ: not each takes `n` or gives token ids. One short question at the start finds out; where `n` is not
taken, k requests with seeds of their own stand in for it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any  # JSON values

from pydantic import BaseModel, ValidationError

from generation.chat_client import ChatClient
from generation.chat_errors import BAD_REQUEST, CONNECTION, RATE_LIMITED, SERVER_ERROR, TIMEOUT, field_name
from generation.chat_line import Reply
from generation.config import SamplingConfig
from generation.engine import Answer, Completion, Request, Tag

INVALID_REPLY = "invalid_reply"
FEWER_CANDIDATES = "fewer_candidates"
NO_TEXT = "no_text"

_BROKEN_OFF = {"content_filter", "tool_calls", "function_call", "abort", "error"}
_QUESTION = Request("", [{"role": "user", "content": "Say yes."}], [], seed=0)
_QUESTION_TOKENS = 16


@dataclass(frozen=True)
class Dialect:
    """What a server understands.

    Attributes:
        several: It gives n choices when asked for n.
        token_ids: It gives the ids of the tokens (vLLM's `return_token_ids`).
    """

    several: bool
    token_ids: bool


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    index: int = 0
    finish_reason: str | None = None
    token_ids: list[int] | None = None


class _Usage(BaseModel):
    completion_tokens: int | None = None


class _Chat(BaseModel):
    choices: list[_Choice]
    usage: _Usage | None = None


@dataclass(frozen=True)
class OutsideServer:
    """One model on one server, and how it is sampled."""

    client: ChatClient
    model: str
    k: int
    sampling: SamplingConfig

    def learn_dialect(self) -> Dialect:
        """Ask a short question in the richest way, then in plainer ones, and see what comes back.

        Raises:
            ConnectionError: No server answers, or it has trouble that may pass.
            ValueError: It refuses even the plainest way; the message has its words.
        """
        n = min(self.k, 2)
        for dialect in (Dialect(True, True), Dialect(True, False), Dialect(False, False)):
            body = self._body(_QUESTION, dialect, n if dialect.several else 1, 0)
            body["max_tokens"] = min(_QUESTION_TOKENS, self.sampling.max_new_tokens)
            [(_, reply)] = self.client.chat([(0, body)])
            if reply.reason != BAD_REQUEST:
                break
        if reply.reason in (TIMEOUT, CONNECTION, RATE_LIMITED, SERVER_ERROR):
            raise ConnectionError(
                f"{self.client.base_url} answers no question for now ({reply.reason}: {reply.detail}): "
                f"look at the server's log"
            )
        chat = _parse(reply)
        if isinstance(chat, str):
            raise ValueError(
                f"{self.client.base_url} gives no chat completion ({chat}: {reply.detail}); check "
                f"{field_name(self.client.field, 'base_url')}, {field_name(self.client.field, 'model')} and sampling"
            )
        several = dialect.several and len(chat.choices) == n  # for k = 1 a server that refuses `n` gives one as well
        return Dialect(several, dialect.token_ids and chat.choices[0].token_ids is not None)

    def sample(self, tagged: Iterable[tuple[Tag, Request]], dialect: Dialect) -> Iterator[tuple[Tag, Answer]]:
        """Answer requests as the replies come."""
        return self._sample_together(tagged, dialect) if dialect.several else self._sample_singly(tagged, dialect)

    def _sample_together(self, tagged: Iterable[tuple[Tag, Request]], dialect: Dialect) -> Iterator[tuple[Tag, Answer]]:
        bodies = ((tag, self._body(request, dialect, self.k, 0)) for tag, request in tagged)
        for tag, reply in self.client.chat(bodies):
            yield tag, _read_answer(reply, self.k)

    def _sample_singly(self, tagged: Iterable[tuple[Tag, Request]], dialect: Dialect) -> Iterator[tuple[Tag, Answer]]:
        bodies = (((tag, j), self._body(request, dialect, 1, j)) for tag, request in tagged for j in range(self.k))
        parts: dict[Tag, dict[int, Answer]] = {}
        for (tag, j), reply in self.client.chat(bodies):
            parts.setdefault(tag, {})[j] = _read_answer(reply, 1)
            if len(parts[tag]) == self.k:
                yield tag, _join(parts.pop(tag))

    def _body(self, request: Request, dialect: Dialect, n: int, sample_index: int) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": request.messages,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "max_tokens": self.sampling.max_new_tokens,
            "seed": request.seed + sample_index,
        }
        if dialect.several:
            body["n"] = n
        if dialect.token_ids:
            body["return_token_ids"] = True
        return body


def _parse(reply: Reply) -> _Chat | str:
    """Give the parsed reply, or the reason for having none."""
    if reply.body is None:
        return reply.reason or INVALID_REPLY
    try:
        chat = _Chat.model_validate(reply.body)
    except ValidationError:
        return INVALID_REPLY
    return chat if chat.choices else INVALID_REPLY


def _read_answer(reply: Reply, k: int) -> Answer:
    chat = _parse(reply)
    if isinstance(chat, str):
        return Answer([], chat)
    if len(chat.choices) != k:
        return Answer([], FEWER_CANDIDATES)
    completions = []
    for choice in sorted(chat.choices, key=lambda choice: choice.index):
        if choice.finish_reason in _BROKEN_OFF:
            return Answer([], choice.finish_reason)
        if choice.message.content is None:
            return Answer([], NO_TEXT)
        counted = chat.usage.completion_tokens if chat.usage and k == 1 else None  # usage sums over the choices
        completions.append(_completion(choice.message.content, choice, counted))
    return Answer(completions)


def _completion(text: str, choice: _Choice, counted: int | None) -> Completion:
    finish_reason = choice.finish_reason if choice.finish_reason in ("stop", "length") else None
    n_tokens = counted if choice.token_ids is None else len(choice.token_ids)
    return Completion(text, choice.token_ids, None, finish_reason, n_tokens)


def _join(parts: dict[int, Answer]) -> Answer:
    for part in parts.values():
        if part.error is not None:
            return part
    return Answer([parts[j].completions[0] for j in sorted(parts)])
