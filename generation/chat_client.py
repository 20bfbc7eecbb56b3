"""One client for OpenAI-compatible servers: request bodies in, replies out, in any order.

A fixed pool of workers keeps `concurrency` requests in flight; requests are pulled from the caller's iterator as they
are needed, in the caller's thread, and never more than `concurrency` ahead of what was handed back: memory stays flat
over any number of rows, and whoever stores a reply before asking for the next one loses at most the calls in flight
when the process is killed. The asyncio loop of the workers lives in a thread of its own for one run.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self  # Any: JSON values
from urllib.parse import urlsplit

from generation.chat_errors import field_name
from generation.engine import Tag

if TYPE_CHECKING:
    from generation.chat_line import Reply


class _End:
    """Says that a source is exhausted."""


_END = _End()


class ServerConfig(Protocol):
    """The part of a recipe that describes a server."""

    @property
    def base_url(self) -> str: ...  # noqa: D102
    @property
    def api_key_env(self) -> str | None: ...  # noqa: D102
    @property
    def concurrency(self) -> int: ...  # noqa: D102
    @property
    def timeout_s(self) -> float: ...  # noqa: D102
    @property
    def max_retries(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class ChatClient:
    """How to talk to one server; holds no connection and no key, so it may be passed on and printed.

    Attributes:
        base_url: Address with its path, such as http://127.0.0.1:8000/v1.
        field: Dotted name of the recipe's part with these settings; error messages name it.
        api_key_env: Name of the environment variable with the API key; None = the server wants none.
        concurrency: Requests in flight.
        timeout_s: Seconds one try may take.
        max_retries: Tries after the first one, for trouble that can heal.
        backoff_s: Longest wait before the first retry; each further one may wait twice as long, up to a minute.

    Raises:
        ValueError: The address is none, or carries a password or a query; the variable with the key is not set, or
            holds what can't be sent.
    """

    base_url: str
    field: str = ""
    api_key_env: str | None = None
    concurrency: int = 16
    timeout_s: float = 120.0
    max_retries: int = 5
    backoff_s: float = 1.0

    def __post_init__(self) -> None:
        _check_address(self.base_url, field_name(self.field, "base_url"))
        if self.api_key_env is not None:
            _check_key(os.environ.get(self.api_key_env), self.api_key_env, field_name(self.field, "api_key_env"))

    @classmethod
    def from_config(cls, config: ServerConfig, field: str = "") -> Self:
        """Build the client that a recipe's part describes."""
        return cls(config.base_url, field, config.api_key_env, config.concurrency, config.timeout_s, config.max_retries)

    def chat(self, tagged: Iterable[tuple[Tag, dict[str, Any]] | None]) -> Iterator[tuple[Tag, "Reply"]]:
        """Send bodies of chat completions, as `run` does."""
        return self.run("/chat/completions", tagged)

    def complete(self, tagged: Iterable[tuple[Tag, dict[str, Any]] | None]) -> Iterator[tuple[Tag, "Reply"]]:
        """Send bodies of (text) completions, as `run` does."""
        return self.run("/completions", tagged)

    def run(self, path: str, tagged: Iterable[tuple[Tag, dict[str, Any]] | None]) -> Iterator[tuple[Tag, "Reply"]]:
        """Post bodies and yield replies as they come; closing the iterator early cancels what is in flight.

        Args:
            path: Path of the endpoint below the base URL.
            tagged: Bodies. A None among them says that the next one hangs on a reply that is still to come: a reply is
                handed back, then more is pulled. Nothing connects before the first body comes.

        Raises:
            ConnectionError: Nothing answers at the address, or the server has stopped answering.
            ValueError: The server refuses every request: its key, its model, its path.
            RuntimeError: A None came while nothing was in flight.
        """
        from generation.chat_line import Line  # the SDK takes a second to import, which is for those who ask

        source = iter(tagged)
        line: Line[Tag] | None = None
        in_hand, more = 0, True
        try:
            while True:
                while more and in_hand < self.concurrency:
                    request = next(source, _END)
                    if isinstance(request, _End):
                        more = False
                        break
                    if request is None:
                        break
                    line = line or Line(self, path)
                    line.send(*request)
                    in_hand += 1
                    if line.has_replies():  # a slow source must not hold back what is done
                        break
                if line is None or not in_hand:
                    if more:
                        raise RuntimeError("the source of requests waits for a reply, but nothing is in flight")
                    return
                yield line.receive()
                in_hand -= 1
        finally:
            if line is not None:
                line.close()


def _check_key(key: str | None, variable: str, field: str) -> None:
    """Refuse a key that no header can carry here: later the error would quote it."""
    if not key:
        raise ValueError(
            f"the environment variable {variable} is not set: {field} names it as the holder of the API key"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError(
            f"the environment variable {variable}, which {field} names, holds a line end, a space or other characters "
            "that no API key has: set it again"
        )


def _check_address(address: str, field: str) -> None:
    try:
        parts = urlsplit(address)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets without an end, a port that is no number; the text may hold a key
        raise ValueError(f"{field} is no address such as http://127.0.0.1:8000/v1") from None
    if not is_address:
        raise ValueError(f"{field} is no address such as http://127.0.0.1:8000/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{field} carries a user name or password: put the API key into an environment variable")
    if parts.query or parts.fragment:
        raise ValueError(f"{field} carries a query or fragment: give the address up to its path, such as .../v1")
