"""Judgements of several questions, many at a time: each is written down as one generator, top to bottom.

A dialogue yields lists of questions, gets the list of their replies back, and returns its result: a rubric's aspects in
one list, a rationale before a verdict in two, a tournament round by round. While one waits for its replies others go
on, so the model is never short of work. Replies that are stored already are not asked for again; a reply is stored
before the model is asked for the next one.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from judging.asking.chat import ChatModel, Question, Reply
from judging.judge import Tag
from judging.reasons import BUDGET

_MOST_HELD_BACK = 256  # results of stored replies that are gathered while the model's other work goes on

Result = TypeVar("Result")
Dialogue = Generator[list[Question], list[Reply], Result]


class Replies(Protocol):
    """Replies that outlive the process, by the question."""

    def get(self, question: Question, /) -> Reply | None:
        """Give the stored reply; None = there is none."""
        ...

    def put(self, question: Question, reply: Reply, /) -> None:
        """Store a reply."""
        ...

    def forget(self, question: Question, /) -> None:
        """Have a question asked again the next time, as nothing could be made of its reply."""
        ...

    def keep_unread(self) -> None:
        """Forget nothing in this run, for its budget is spent: the next one would spend its own on the same again."""
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

    def keep_unread(self) -> None:
        """Have nothing to keep."""


@dataclass
class _Open(Generic[Tag, Result]):
    """A dialogue that waits for replies.

    Attributes:
        tag: The caller's.
        dialogue: Its generator.
        current: Questions that it waits for.
        replies: Replies to these, by place.
    """

    tag: Tag
    dialogue: Dialogue[Result]
    current: list[Question] = field(default_factory=list)
    replies: dict[int, Reply] = field(default_factory=dict)


def hold_dialogues(
    model: ChatModel, replies: Replies, tagged: Iterable[tuple[Tag, Dialogue[Result]]]
) -> Iterator[tuple[Tag, Result]]:
    """Hold dialogues with a model and yield each one's result as it ends, in any order.

    Args:
        model: Answers, while it is open.
        replies: Where replies are looked up and kept. A dialogue that makes nothing of one forgets it there, so that
            the next run asks again; unless a budget ends this one, for then the rest comes first.
        tagged: Dialogues, begun only as the model needs work.
    """
    return _Talk(model, replies, iter(tagged)).results()


class _Talk(Generic[Tag, Result]):
    """The state of one call of `hold_dialogues`."""

    def __init__(
        self,
        model: ChatModel,
        replies: Replies,
        waiting: Iterator[tuple[Tag, Dialogue[Result]]],
    ) -> None:
        self._model = model
        self._stored = replies
        self._waiting = waiting
        self._to_ask: deque[tuple[tuple[int, int], Question]] = deque()
        self._open: dict[int, _Open[Tag, Result]] = {}
        self._ended: deque[tuple[Tag, Result]] = deque()
        self._begun = 0
        self._in_hand = 0  # questions that the model has
        self._more = True

    def results(self) -> Iterator[tuple[Tag, Result]]:
        while self._more or self._open:
            for (number, place), reply in self._model.ask(self._questions()):
                self._in_hand -= 1
                self._take(number, place, reply)
                while self._ended:
                    yield self._ended.popleft()
            if self._in_hand:
                raise RuntimeError(f"the model has left {self._in_hand} questions without a reply or a reason")
            while self._ended:
                yield self._ended.popleft()

    def _questions(self) -> Iterator[tuple[tuple[int, int], Question] | None]:
        """Yield questions as the model asks for them; ends or pauses where results wait to be handed on."""
        while True:
            while not self._to_ask and self._more and len(self._ended) < (_MOST_HELD_BACK if self._in_hand else 1):
                self._begin()
            if self._to_ask:
                self._in_hand += 1
                yield self._to_ask.popleft()
            elif self._in_hand:
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
                del self._open[number]
                self._ended.append((one.tag, end.value))
                return
            one.replies = {}
            for place, question in enumerate(one.current):
                if (stored := self._stored.get(question)) is None:
                    self._to_ask.append(((number, place), question))
                else:
                    one.replies[place] = stored
            if len(one.replies) < len(one.current):
                return
            replies = _in_order(one)

    def _take(self, number: int, place: int, reply: Reply) -> None:
        one = self._open[number]
        if reply.reason is None:
            self._stored.put(one.current[place], reply)
        elif reply.reason == BUDGET:
            self._stored.keep_unread()
        one.replies[place] = reply
        if len(one.replies) == len(one.current):
            self._advance(number, _in_order(one))


def _in_order(one: _Open[Tag, Result]) -> list[Reply]:
    return [one.replies[place] for place in range(len(one.current))]
