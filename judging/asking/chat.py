"""What a language-model judge asks and gets: questions in, replies out, whichever way the model is reached."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from judging.judge import Tag


@dataclass(frozen=True, slots=True)
class Question:
    """One request to a language model; everything that its reply depends on, but for the model.

    Attributes:
        messages: The conversation, each message with `role` and `content`.
        max_new_tokens: Tokens a reply may have.
        temperature: Sampling temperature.
        seed: Seed of the first of the n choices.
        n: Choices wanted.
        top_logprobs: Alternatives whose log-probs are wanted at each position of a reply; 0 = no log-probs.
        choice: A reply is one of these texts; None = free.
        json_schema: A reply is JSON that fits this schema (JSON text); None = free.
    """

    messages: list[dict[str, str]]
    max_new_tokens: int
    temperature: float
    seed: int
    n: int = 1
    top_logprobs: int = 0
    choice: tuple[str, ...] | None = None
    json_schema: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One text that the model wrote.

    Attributes:
        text: The text.
        finish_reason: stop, length or content_filter; None = unknown.
        logprobs: For each position of the text the alternatives that the server gave, token text to nats; two tokens of
            one text are added up. None = the server gives none.
    """

    text: str
    finish_reason: str | None
    logprobs: list[dict[str, float]] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one question.

    Attributes:
        choices: n texts; empty with a reason.
        reason: Snake-case literal that says why there is none; None = all went well.
        detail: What the model's server said about it, for people.
        n_tokens_in: Tokens of the question; None = unknown.
        n_tokens_out: Tokens of all choices; None = unknown.
        cost: In the currency of the recipe's price fields; None = not priced.
    """

    choices: list[Choice]
    reason: str | None = None
    detail: str = ""
    n_tokens_in: int | None = None
    n_tokens_out: int | None = None
    cost: float | None = None


class ChatModel(Protocol):
    """A language model that answers while it is open (`with model: ...`)."""

    @property
    def identity(self) -> str:
        """What its replies depend on beside the question: weights, or address and name."""
        ...

    def __enter__(self) -> Self:
        """Load it, or connect."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of it."""
        ...

    def ask(self, tagged: Iterable[tuple[Tag, Question] | None]) -> Iterator[tuple[Tag, Reply]]:
        """Answer questions in any order, pulling them only as fast as they are worked off.

        A None among them says that the next question hangs on a reply that is still to come: go on with what is in
        hand, then pull again. It never comes while nothing is in hand.
        """
        ...
