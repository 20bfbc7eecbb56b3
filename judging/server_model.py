"""A language model behind an OpenAI-compatible server, as judges ask it."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol  # JSON values

from judging.judge import Tag


class ChatReply(Protocol):
    """What came of one request: the server's JSON object, or the reason for having none."""

    @property
    def body(self) -> dict[str, Any] | None: ...  # noqa: D102
    @property
    def reason(self) -> str | None: ...  # noqa: D102
    @property
    def detail(self) -> str: ...  # noqa: D102


class ChatClient(Protocol):
    """What the judge needs of a client: bodies of chat completions in, replies out in any order, pulled as needed."""

    def chat(self, tagged: Iterable[tuple[Tag, dict[str, Any]] | None]) -> Iterator[tuple[Tag, ChatReply]]: ...  # noqa: D102
