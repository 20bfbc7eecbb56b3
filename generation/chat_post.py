"""How a chat request goes out: the SDK's address, credentials, headers and transport; its headers are built once.

The SDK merges address, headers and options anew for each request, which takes more CPU than sending it: half of a call.
Here one set of headers serves all the requests of a run, whose bodies alone differ.
"""

import logging
import os
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import httpx2
import openai

if TYPE_CHECKING:
    from types import TracebackType

    from generation.chat_client import ChatClient

_CONNECT_TIMEOUT_S = 10.0
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class ChatPost:
    """An open connection pool to one endpoint (`async with ChatPost(client, path) as post: ...`)."""

    def __init__(self, client: "ChatClient", path: str) -> None:
        """Prepare what all requests share.

        Args:
            client: Whom to talk to, and with how many connections.
            path: Path of the endpoint below the base URL.
        """
        limits = httpx2.Limits(max_connections=client.concurrency, max_keepalive_connections=client.concurrency)
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # or it logs a line for each request
        at_home = urlsplit(client.base_url).hostname in _LOOPBACK
        self._http = openai.DefaultAioHttpClient(
            limits=limits,
            trust_env=not at_home,  # no proxy for this machine
            timeout=httpx2.Timeout(None, connect=_CONNECT_TIMEOUT_S),
        )
        # Without a key the SDK takes OPENAI_API_KEY.
        api = openai.AsyncOpenAI(base_url=client.base_url, api_key=secret_of(client) or "none", http_client=self._http)
        headers = api.default_headers | api.auth_headers
        self._headers = httpx2.Headers({name: value for name, value in headers.items() if isinstance(value, str)})
        self._url = httpx2.URL(f"{str(api.base_url).rstrip('/')}{path}")

    async def __aenter__(self) -> Self:
        """Open the pool; it connects when the first request goes out."""
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        """Close all connections."""
        await self._http.__aexit__(kind, error, trace)

    async def send(self, body: bytes) -> bytes:
        """Post a body of JSON and give the answer's.

        Raises:
            openai.APIStatusError: The answer has an error status.
            httpx2.RequestError: No connection came about, or it broke; also aiohttp.ClientError.
        """
        response = await self._http.send(httpx2.Request("POST", self._url, headers=self._headers, content=body))
        if not response.is_success:
            raise _status_error(response)
        return response.content


def secret_of(client: "ChatClient") -> str | None:
    """Give the API key; None = the server wants none."""
    return os.environ[client.api_key_env] if client.api_key_env else None


def _status_error(response: httpx2.Response) -> openai.APIStatusError:
    """Read what the server says about its refusal, which OpenAI's servers put below `error`."""
    try:
        said = response.json()
    except (ValueError, RecursionError):  # no JSON, or nested too deep
        said = None
    error = said.get("error", said) if isinstance(said, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    text = message if isinstance(message, str) and message else response.text.strip()
    return openai.APIStatusError(text, response=response, body=error)
