"""A chat model without weights, for tests and rehearsals: a function answers for it."""

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from judging.asking.chat import Choice, Question, Reply
from judging.judge import Tag

_END = object()


class ScriptedModel:
    """A chat model that a function answers for, out of order, as engines do."""

    def __init__(self, answer: Callable[[Question], Reply], identity: str = "scripted", window: int = 4) -> None:
        """Hold what answers.

        Args:
            answer: From a question to its reply.
            identity: What the replies depend on.
            window: Questions taken before the first is answered; the last comes first.
        """
        self._answer = answer
        self._identity = identity
        self._window = window
        self.asked: list[Question] = []

    @property
    def identity(self) -> str:
        """What the replies depend on."""
        return self._identity

    def __enter__(self) -> Self:
        """Load nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free nothing."""

    def ask(self, tagged: Iterable[tuple[Tag, Question] | None]) -> Iterator[tuple[Tag, Reply]]:
        """Answer questions, the last of each window first."""
        questions = iter(tagged)
        in_hand: list[tuple[Tag, Question]] = []
        more = True
        while more or in_hand:
            asked = next(questions, _END) if more and len(in_hand) < self._window else None
            if isinstance(asked, tuple):
                in_hand.append(asked)
                continue
            more = more and asked is not _END
            if in_hand:
                tag, question = in_hand.pop()
                self.asked.append(question)
                yield tag, self._answer(question)


def reply_texts(*texts: str, finish_reason: str = "stop") -> Reply:
    """Give a reply of some texts."""
    return Reply([Choice(text, finish_reason) for text in texts], n_tokens_in=7, n_tokens_out=3 * len(texts))


def reply_token(logprobs: dict[str, float]) -> Reply:
    """Give a reply of one token, the likeliest, with the log-probs (nats) of its alternatives."""
    token = max(logprobs, key=lambda text: logprobs[text])
    return Reply([Choice(token, "length", [logprobs])], n_tokens_in=7, n_tokens_out=1)
