"""Judgements of several questions, many at a time: each is written down as one generator, top to bottom.

A dialogue yields lists of questions, gets the list of their replies back, and returns its result: a rubric's aspects in
one list, a rationale before a verdict in two, a tournament round by round. While one waits for its replies others go
on, so the model is never short of work. Replies that are stored already are not asked for again.
"""

from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from judging.chat import ChatModel, Question, Reply
from judging.judge import Tag

Result = TypeVar("Result")
Dialogue = Generator[list[Question], list[Reply], Result]


class Replies(Protocol):
    """Replies that outlive the process, by the question."""

    def get(self, question: Question) -> Reply | None:
        """Give the stored reply; None = there is none."""
        ...

    def put(self, question: Question, reply: Reply) -> None:
        """Store a reply."""
        ...

    def forget(self, question: Question) -> None:
        """Remove a stored reply, so that the question is asked again the next time."""
        ...


class NoReplies:
    """Stores nothing."""

    def get(self, _question: Question) -> Reply | None:
        """Give nothing."""
        return None

    def put(self, _question: Question, _reply: Reply) -> None:
        """Store nothing."""

    def forget(self, _question: Question) -> None:
        """Have nothing to forget."""


@dataclass
class _Open(Generic[Tag, Result]):
    """A dialogue that waits for replies."""

    tag: Tag
    dialogue: Dialogue[Result]
    asked: list[Question] = field(default_factory=list)  # over the whole dialogue
    current: list[Question] = field(default_factory=list)
    replies: dict[int, Reply] = field(default_factory=dict)


def hold_dialogues(
    model: ChatModel,
    replies: Replies,
    tagged: Iterable[tuple[Tag, Dialogue[Result]]],
    is_done: Callable[[Result], bool],
) -> Iterator[tuple[Tag, Result]]:
    """Hold dialogues with a model and yield each one's result as it ends, in any order.

    Args:
        model: Answers, while it is open.
        replies: Where replies are looked up and kept.
        tagged: Dialogues, begun only as the model needs work.
        is_done: Whether a result is one to keep; the stored replies of another are forgotten, so that the next run asks
            again.
    """
    return _Talk(model, replies, iter(tagged), is_done).results()


class _Talk(Generic[Tag, Result]):
    """The state of one call of `hold_dialogues`."""

    def __init__(
        self,
        model: ChatModel,
        replies: Replies,
        waiting: Iterator[tuple[Tag, Dialogue[Result]]],
        is_done: Callable[[Result], bool],
    ) -> None:
        self._model = model
        self._stored = replies
        self._waiting = waiting
        self._is_done = is_done
        self._to_ask: deque[tuple[Hashable, Question]] = deque()
        self._open: dict[int, _Open[Tag, Result]] = {}
        self._ended: deque[tuple[Tag, Result]] = deque()
        self._begun = 0
        self._more = True

    def results(self) -> Iterator[tuple[Tag, Result]]:
        while True:
            for (number, place), reply in self._model.ask(self._questions()):
                one = self._open[number]
                if reply.reason is None:
                    self._stored.put(one.current[place], reply)
                self._take(number, place, reply)
                while self._ended:
                    yield self._ended.popleft()
            while self._ended:
                yield self._ended.popleft()
            if not self._more and not self._open:
                return

    def _questions(self) -> Iterator[tuple[Hashable, Question] | None]:
        """Yield questions as the model asks for them; ends where results wait to be handed on."""
        while True:
            while not self._to_ask and self._more:
                self._begin()
                if self._ended and len(self._ended) > len(self._open):
                    return  # all of it was stored: hand it on before more is begun
            if self._to_ask:
                yield self._to_ask.popleft()
            elif self._open:
                yield None
            else:
                return

    def _begin(self) -> None:
        if (tagged := next(self._waiting, None)) is None:
            self._more = False
            return
        number, self._begun = self._begun, self._begun + 1
        self._open[number] = _Open(*tagged)
        self._advance(number, None)

    def _advance(self, number: int, replies: list[Reply] | None) -> None:
        """Give a dialogue its replies and take its next questions, as long as all of these are stored."""
        one = self._open[number]
        while True:
            try:
                one.current = next(one.dialogue) if replies is None else one.dialogue.send(replies)
            except StopIteration as end:
                self._end(number, end.value)
                return
            one.asked += one.current
            one.replies = {}
            for place, question in enumerate(one.current):
                if (stored := self._stored.get(question)) is None:
                    self._to_ask.append(((number, place), question))
                else:
                    one.replies[place] = stored
            if len(one.replies) < len(one.current):
                return
            replies = [one.replies[place] for place in range(len(one.current))]

    def _take(self, number: int, place: int, reply: Reply) -> None:
        one = self._open[number]
        one.replies[place] = reply
        if len(one.replies) == len(one.current):
            self._advance(number, [one.replies[place] for place in range(len(one.current))])

    def _end(self, number: int, result: Result) -> None:
        one = self._open.pop(number)
        if not self._is_done(result):
            for question in one.asked:
                self._stored.forget(question)
        self._ended.append((one.tag, result))
