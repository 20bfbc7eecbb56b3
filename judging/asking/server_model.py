"""A language model behind an OpenAI-compatible server, as judges ask it: questions in, replies out, within a budget.

The client that is handed in sends and tries again; here questions become request bodies, the server's JSON becomes
replies, and money is counted. Servers differ: one that takes no seed is asked without (and a warning says that samples
cannot be repeated), one that gives fewer choices than wanted is an error, for nobody wants k calls billed by surprise.
"""

import json
import logging
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, Protocol, Self  # Any: JSON values

from judging.asking.chat import Question, Reply
from judging.asking.chat_wire import read_completion, write_question
from judging.asking.spent import Spent
from judging.engine_config import ServerConfig
from judging.judge import Tag
from judging.reasons import BUDGET, NO_LOGPROBS

logger = logging.getLogger(__name__)

FEWER_CHOICES = "fewer_choices"

_BAD_REQUEST = "bad_request"
_SEED = re.compile(r"\bseed\b", re.IGNORECASE)
_SEVERAL = re.compile(r"(?<![\w\\])['\"`]?n['\"`]?(?!\w)")
_REFUSED_AT_FIRST = 16


class ChatReply(Protocol):
    """What came of one request: the server's JSON object, or the reason for having none."""

    @property
    def body(self) -> dict[str, Any] | None: ...  # noqa: D102
    @property
    def reason(self) -> str | None: ...  # noqa: D102
    @property
    def detail(self) -> str: ...  # noqa: D102
    @property
    def n_requests(self) -> int: ...  # noqa: D102


class ChatClient(Protocol):
    """What the judge needs of a client: bodies of chat completions in, replies out in any order, pulled as needed."""

    def chat(self, tagged: Iterable[tuple[Tag, dict[str, Any]] | None]) -> Iterator[tuple[Tag, ChatReply]]: ...  # noqa: D102


class ServerModel:
    """A model on a server; it counts what it spends while it is open."""

    def __init__(self, config: ServerConfig, client: ChatClient) -> None:
        """Hold the recipe's part and a client for its server."""
        self._config = config
        self._client = client
        self._forget_server()

    @property
    def identity(self) -> str:
        """The address, the name, and how a constraint is told."""
        return json.dumps(self._config.model_dump(include={"base_url", "model", "structured"}))

    @property
    def spent(self) -> Spent:
        """What it has cost so far."""
        return self._spent

    def __enter__(self) -> Self:
        """Begin with a fresh budget; the client connects when the first question comes."""
        self._forget_server()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say what it has cost."""
        if self._spent.calls:
            logger.info("%s at %s: %s", self._config.model, self._config.base_url, self._spent)

    def ask(self, tagged: Iterable[tuple[Tag, Question] | None]) -> Iterator[tuple[Tag, Reply]]:
        """Answer questions as the replies come.

        Reasons: the client's own (timeout, connection, rate_limited, server_error, too_long, bad_request,
        content_filter, invalid_json); invalid_reply, refused, content_filter; fewer_choices; no_logprobs, where they
        were asked for; budget, once the budget is used up: such a question is not sent, while calls in flight finish.

        Raises:
            ConnectionError: No server answers, or it has stopped answering.
            ValueError: The server refuses every request, gives no several choices, or none of the counts that the
                budget needs.
        """
        return _Asking(self, self._client, iter(tagged)).replies()

    def _forget_server(self) -> None:
        self._spent = Spent(cost=None if self._config.price_in is None else 0.0)
        self._takes_seed = True
        self._took_seed = False  # shown by an answer
        self._gave_several = False
        self._answered = False
        self._refused = 0

    def is_used_up(self) -> bool:
        """Say whether the budget is reached."""
        return self._spent.reaches(self._config.budget)

    def send(self, question: Question) -> dict[str, Any]:
        """Give the body for a question and count the call."""
        self._spent = self._spent.with_call()
        return write_question(question, self._config, with_seed=self._takes_seed)

    def take(self, question: Question, body: dict[str, Any], said: ChatReply) -> Reply | None:
        """Read what came of a question and count its cost; None = it must be asked again, without a seed."""
        reply = Reply([], said.reason, said.detail) if said.body is None else read_completion(said.body)
        reply = replace(reply, cost=self._price(reply))
        self._check_counts(reply)
        self._spent = self._spent.with_reply(reply, said.n_requests)
        if reply.reason == _BAD_REQUEST:
            return self._take_refusal(question, reply, with_seed="seed" in body)
        self._answered |= said.body is not None
        self._took_seed |= said.body is not None and "seed" in body
        if reply.reason is None and question.n > 1:
            return self._check_several(question, reply)
        return _check_logprobs(question, reply)

    def _price(self, reply: Reply) -> float | None:
        config = self._config
        if config.price_in is None or config.price_out is None:
            return None
        if reply.n_tokens_in is None or reply.n_tokens_out is None:
            return None
        return (reply.n_tokens_in * config.price_in + reply.n_tokens_out * config.price_out) / 1e6

    def _check_counts(self, reply: Reply) -> None:
        budget = self._config.budget
        counted = reply.n_tokens_in is not None and reply.n_tokens_out is not None
        if reply.choices and not counted and (budget.max_tokens or budget.max_cost):
            raise ValueError(
                f"{self._config.base_url} does not say how many tokens a reply took, so engine.budget.max_tokens and "
                "max_cost cannot be kept: use max_calls"
            )

    def _take_refusal(self, question: Question, reply: Reply, *, with_seed: bool) -> Reply | None:
        if with_seed and not self._took_seed and _SEED.search(reply.detail):
            if self._takes_seed:
                logger.warning("%s takes no seed: samples cannot be repeated", self._config.base_url)
            self._takes_seed = False
            return None
        if question.n > 1 and not self._gave_several and _SEVERAL.search(reply.detail):
            raise ValueError(self._too_many(question, f"refuses a request for {question.n} choices ({reply.detail})"))
        self._refused += 1
        if not self._answered and self._refused >= _REFUSED_AT_FIRST:
            raise ValueError(
                f"{self._config.base_url} refused the first {self._refused} questions and answered none "
                f"({reply.detail}): check what the judge asks for (engine.model, engine.structured, log-probs)"
            )
        return reply

    def _check_several(self, question: Question, reply: Reply) -> Reply:
        if len(reply.choices) == question.n:
            self._gave_several = True
            return reply
        if self._gave_several:
            return replace(reply, choices=[], reason=FEWER_CHOICES, detail=f"{len(reply.choices)} of {question.n}")
        raise ValueError(self._too_many(question, f"gives {len(reply.choices)} of {question.n} choices"))

    def _too_many(self, question: Question, said: str) -> str:
        return f"{self._config.base_url} {said}: it takes no `n`; set n_samples to 1 (it is {question.n})"


def _check_logprobs(question: Question, reply: Reply) -> Reply:
    """Turn a text without the log-probs that were asked for into a reason: as a reply it would be stored."""
    if reply.reason is not None or not question.top_logprobs:
        return reply
    choice = reply.choices[0]
    if choice.logprobs or not choice.text or choice.finish_reason == "content_filter":
        return reply
    return replace(reply, choices=[], reason=NO_LOGPROBS, detail=f"{choice.text[:200]!r} came without log-probs")


class _Asking(Generic[Tag]):
    """The state of one call of `ask`."""

    def __init__(
        self, model: ServerModel, client: ChatClient, questions: Iterator[tuple[Tag, Question] | None]
    ) -> None:
        self._model = model
        self._client = client
        self._questions = questions
        self._more = True
        self._sent: dict[int, tuple[Tag, Question, dict[str, Any]]] = {}
        self._again: deque[tuple[Tag, Question]] = deque()
        self._refused: deque[Tag] = deque()
        self._numbers = 0

    def replies(self) -> Iterator[tuple[Tag, Reply]]:
        while self._more or self._again:
            for number, said in self._client.chat(self._bodies()):
                tag, question, body = self._sent.pop(number)
                if (reply := self._model.take(question, body, said)) is None:
                    self._again.append((tag, question))
                else:
                    yield tag, reply
                yield from self._refusals()
            yield from self._refusals()

    def _refusals(self) -> Iterator[tuple[Tag, Reply]]:
        while self._refused:
            yield self._refused.popleft(), Reply([], BUDGET, "the judge's budget is used up")

    def _bodies(self) -> Iterator[tuple[int, dict[str, Any]] | None]:
        """Yield bodies as the client pulls them; end or pause where refusals wait to be handed back."""
        while True:
            asked = self._again.popleft() if self._again else next(self._questions, _END)
            if isinstance(asked, str):
                self._more = False
                return
            if asked is not None and not self._model.is_used_up():
                body = self._model.send(asked[1])
                self._numbers += 1
                self._sent[self._numbers] = (*asked, body)
                yield self._numbers, body
                continue
            if asked is not None:
                self._refused.append(asked[0])
            if not self._sent:
                return
            yield None


_END = "end"
