"""What a judge is: items in, one verdict each out, in any order.

A judge never raises over one item and never makes up a number for it: an item that it cannot score gets a verdict with
a reason and no score.
"""

import math
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, TypeVar

Tag = TypeVar("Tag", bound=Hashable)
"""What the caller recognises an item by; a judge hands it back untouched."""


@dataclass(frozen=True, slots=True)
class Item:
    """One answer to judge, with the prompt that it answers.

    Attributes:
        candidate_id: Id of the answer.
        prompt_id: Id of the prompt.
        messages: The conversation up to the answer, each message with `role` and `content`.
        text: The answer.
        reference_answer: What a verifier compares with; None where the prompt has none.
        columns: The other columns of the prompt's source, by name.
        token_ids: Ids of the answer as its policy wrote them, the stop token included; None = the source has none.
        tokenizer: Identity of the tokenizer of these ids; None without ids.
    """

    candidate_id: str
    prompt_id: str
    messages: list[dict[str, str]]
    text: str
    reference_answer: str | None
    columns: dict[str, object]
    token_ids: list[int] | None = None
    tokenizer: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says about one item: a finite score or the reason for having none.

    Attributes:
        score: In the judge's own unit, higher is better; None = unscored.
        reason: Snake-case literal that says why there is no score; None with a score.
        aspects: Parts of the score by name; None where the judge has none.
        uncertainty: Spread of the judge's opinion, in units of the score; None = unknown.
        rationale: The judge's explanation; None where it gives none.
        raw_reply: A language-model judge's whole reply.
        n_tokens_in: Tokens the judge read; None = unknown.
        n_tokens_out: Tokens the judge wrote; None = unknown.
        cost: In the currency of the recipe's price fields; None = not priced.

    Raises:
        ValueError: Unless exactly one of score and reason is given, and the score is finite.
    """

    score: float | None
    reason: str | None = None
    aspects: dict[str, float] | None = None
    uncertainty: float | None = None
    rationale: str | None = None
    raw_reply: str | None = None
    n_tokens_in: int | None = None
    n_tokens_out: int | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        if (self.score is None) == (self.reason is None):
            raise ValueError(f"a verdict has a score or a reason, not both: {self.score=}, {self.reason=}")
        if self.score is not None and not math.isfinite(self.score):
            raise ValueError(f"score must be finite, got {self.score}; give a reason instead")


class Judge(Protocol):
    """A resource that scores items while it is open (`with judge: ...`)."""

    def __enter__(self) -> Self:
        """Load what scoring needs."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of it."""
        ...

    def score(self, tagged: Iterable[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Verdict]]:
        """Yield one verdict for each item as it becomes known, in any order, drawing items only as needed.

        The items of a prompt come one after the other and all of them: a judge that compares answers relies on it.
        """
        ...
