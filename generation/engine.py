"""What an engine is: requests in, k completions each out, in any order.

An engine is constructed with the policy, k and how to sample; it holds the model's memory while it is open. It never
raises over one request: a request that it cannot answer gets an answer with an error and no completions.
"""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, TypeVar

Tag = TypeVar("Tag", bound=Hashable)
"""What the caller recognises a request by; an engine hands it back untouched."""


@dataclass(frozen=True)
class PolicyFiles:
    """Where a policy lies.

    Attributes:
        model: Folder with weights and tokenizer, or the id of a model on the Hugging Face Hub.
        key: Identity that candidates carry as their `policy`.
        adapter: Folder with a LoRA adapter on top of the model; None = the model as it is.
        revision: Hub commit or tag; None = the newest, and for folders.
        trust_remote_code: Whether code in the model's repository may run.
    """

    model: str
    key: str
    adapter: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to answer k times.

    Attributes:
        prompt_id: Id of the prompt.
        messages: The conversation, each message with `role` and `content`.
        prompt_ids: Token ids of the rendered conversation; empty where the tokenizer is not known.
        seed: Seed of the first sample; sample j has seed + j.
    """

    prompt_id: str
    messages: list[dict[str, str]]
    prompt_ids: list[int]
    seed: int


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer.

    Attributes:
        text: The answer without special tokens.
        token_ids: Its ids, the stop token included; None = the source gives none.
        logprob_sum: Nats: sum of the raw (temperature 1) log-probabilities of `token_ids`; None = unknown.
        finish_reason: stop or length; None = unknown.
        n_tokens: Tokens in the answer; None = unknown.
    """

    text: str
    token_ids: list[int] | None
    logprob_sum: float | None
    finish_reason: str | None
    n_tokens: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request: k completions in the order of their seeds, or an error.

    Attributes:
        completions: The samples; empty with an error.
        error: Snake-case literal; None = all went well.
    """

    completions: list[Completion]
    error: str | None = None


class Engine(Protocol):
    """A resource that samples from one policy while it is open (`with engine: ...`)."""

    @property
    def max_model_len(self) -> int:
        """Most tokens of prompt and answer together; known once the engine is open."""
        ...

    def __enter__(self) -> Self:
        """Load the policy."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of it."""
        ...

    def sample(self, tagged: Iterable[tuple[Tag, Request]]) -> Iterator[tuple[Tag, Answer]]:
        """Answer requests in any order, pulling them only as fast as they are worked off."""
        ...
