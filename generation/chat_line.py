"""One run of the chat client: a thread with an asyncio loop, its workers, and the one retry policy."""

import asyncio
import concurrent.futures
import logging
import queue
import random
import ssl
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic  # Any: JSON values

import aiohttp
import httpx2
import openai

from generation.chat_errors import (
    CONNECTION,
    INVALID_JSON,
    TIMEOUT,
    Trouble,
    field_name,
    hide_key,
    is_refused_connection,
    sort_status,
)
from generation.chat_json import read_object, write_body
from generation.chat_post import ChatPost, secret_of
from generation.engine import Tag

if TYPE_CHECKING:
    from generation.chat_client import ChatClient

logger = logging.getLogger(__name__)

_LONGEST_BACKOFF_S = 60.0
_BATCH_S = 0.002  # longest that a request or reply waits for others to cross between the threads with it
_FEWEST_SILENT_ROWS = 4


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request.

    Attributes:
        body: The server's JSON object; None = there is none.
        reason: Snake-case literal that says why there is no body; None with a body.
        detail: What the server said about it, for people.
        n_requests: Requests it took, retries included.
    """

    body: dict[str, Any] | None
    reason: str | None = None
    detail: str = ""
    n_requests: int = 1


class Line(Generic[Tag]):
    """The thread, loop and workers of one run."""

    def __init__(self, client: "ChatClient", path: str) -> None:
        self._client = client
        self._path = path
        self._jitter = random.Random()  # of waiting times only; a shared seed would let processes retry in step
        self._requests: asyncio.Queue[tuple[Tag, dict[str, Any]]] = asyncio.Queue()
        # Both ways between the threads go in batches: each wake-up of the other costs system calls and the GIL's waits.
        self._outbox: deque[tuple[Tag, dict[str, Any]]] = deque()
        self._fetches = False  # whether the loop is going to look into the outbox
        self._next_fetch: asyncio.TimerHandle | None = None
        self._done: list[tuple[Tag, Reply]] = []
        self._batches: queue.SimpleQueue[list[tuple[Tag, Reply]] | None] = queue.SimpleQueue()
        self._received: deque[tuple[Tag, Reply]] = deque()
        self._stop = asyncio.Event()
        self._heard = False  # whether the server has ever answered
        self._silent_rows = 0  # rows given up since the server's latest answer of any kind
        self._quiet_until = 0.0  # loop time before which the server wants no request
        self._renames_limit = False  # OpenAI's reasoning models refuse max_tokens, older servers its new name
        self._told: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._drive, name="chat client", daemon=True)
        self._thread.start()
        self._served = asyncio.run_coroutine_threadsafe(self._serve(), self._loop)
        self._served.add_done_callback(lambda _: self._batches.put(None))

    def send(self, tag: Tag, body: dict[str, Any]) -> None:
        """Hand a request to the workers."""
        self._outbox.append((tag, body))
        if not self._fetches:
            self._fetches = True
            self._loop.call_soon_threadsafe(self._fetch)

    def has_replies(self) -> bool:
        """Say whether `receive` would come back at once."""
        return bool(self._received) or not self._batches.empty()

    def receive(self) -> tuple[Tag, Reply]:
        """Wait for a reply; raise what ended the workers."""
        if not self._received:
            if (batch := self._batches.get()) is None:
                self._served.result()
                raise RuntimeError("the chat client's workers ended early")
            self._received.extend(batch)
        return self._received.popleft()

    def close(self) -> None:
        """Cancel what is in flight and end the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        concurrent.futures.wait([self._served])
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _drive(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _serve(self) -> None:
        async with ChatPost(self._client, self._path) as post:
            workers = [asyncio.create_task(self._work(post)) for _ in range(self._client.concurrency)]
            stop = asyncio.create_task(self._stop.wait())
            done, pending = await asyncio.wait([stop, *workers], return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(stop, *workers, return_exceptions=True)
        for task in done:
            task.result()

    def _fetch(self) -> None:
        """Take what was sent, and look again a moment later until nothing more comes."""
        if not self._outbox:
            self._fetches = False  # before looking once more: what is sent from now on calls
            if not self._outbox:
                return
            self._fetches = True
        while self._outbox:
            self._requests.put_nowait(self._outbox.popleft())
        if self._next_fetch is not None:
            self._next_fetch.cancel()
        self._next_fetch = self._loop.call_later(_BATCH_S, self._fetch)

    def _deliver(self) -> None:
        self._batches.put(self._done)
        self._done = []

    async def _work(self, post: ChatPost) -> None:
        while True:
            tag, body = await self._requests.get()
            reply = await self._ask(post, body)
            if not self._done:
                self._loop.call_later(_BATCH_S, self._deliver)  # with what else is done by then
            self._done.append((tag, reply))

    async def _ask(self, post: ChatPost, body: dict[str, Any]) -> Reply:
        """Try until there is a reply, the trouble cannot heal, or the tries are used up."""
        tries, n_requests = 0, 0
        while True:
            if (pause := self._quiet_until - self._loop.time()) > 0:
                await asyncio.sleep(pause)
            renamed = self._renames_limit
            outcome = await self._try(post, _rename_limit(body) if renamed else body)
            n_requests += 1
            if isinstance(outcome, bytes):
                return self._read(outcome, n_requests)
            if not renamed and "max_completion_tokens" in outcome.detail:
                self._renames_limit = True
                continue
            tries += 1
            if not outcome.heals or tries > self._client.max_retries:
                break
            await asyncio.sleep(self._backoff(tries, outcome))
        self._tell(outcome)
        if outcome.reason in (CONNECTION, TIMEOUT):
            self._count_silence()
        return Reply(None, outcome.reason, outcome.detail, n_requests)

    async def _try(self, post: ChatPost, body: dict[str, Any]) -> bytes | Trouble:
        try:
            async with asyncio.timeout(self._client.timeout_s):
                content = await post.send(write_body(body))
        except TimeoutError:
            return Trouble(TIMEOUT, f"no reply within {self._client.timeout_s:g} s", heals=True)
        except openai.APIStatusError as error:
            self._heard, self._silent_rows = True, 0
            return sort_status(error, self._client.base_url, self._client.field, secret_of(self._client))
        except (httpx2.RequestError, aiohttp.ClientError, ssl.SSLError) as error:
            if not self._heard and is_refused_connection(error):
                raise ConnectionError(self._nobody()) from None
            return Trouble(CONNECTION, repr(error), heals=True)
        self._heard, self._silent_rows = True, 0
        return content

    def _read(self, content: bytes, n_requests: int) -> Reply:
        if (body := read_object(content)) is not None:
            return Reply(body, n_requests=n_requests)
        said = hide_key(content.decode(errors="replace"), secret_of(self._client))
        return Reply(None, INVALID_JSON, said[:200], n_requests)

    def _backoff(self, tries: int, trouble: Trouble) -> float:
        """Give the seconds before the next try: half to all of a doubling span; a Retry-After holds for all workers."""
        if trouble.retry_after_s is not None:
            self._quiet_until = max(self._quiet_until, self._loop.time() + trouble.retry_after_s)
        span = min(self._client.backoff_s * 2 ** (tries - 1), _LONGEST_BACKOFF_S)
        return max(span * self._jitter.uniform(0.5, 1.0), trouble.retry_after_s or 0.0)

    def _nobody(self) -> str:
        name = field_name(self._client.field, "base_url")
        return f"no server answers at {self._client.base_url}: start it or fix {name}"

    def _count_silence(self) -> None:
        """Note a row given up unanswered; as many in a row as there are workers mean that the server is gone."""
        self._silent_rows += 1
        if self._silent_rows >= max(self._client.concurrency, _FEWEST_SILENT_ROWS):
            raise ConnectionError(
                f"{self._client.base_url} has not answered {self._silent_rows} requests in a row, each tried "
                f"{self._client.max_retries + 1} times: look at the server's log, or raise "
                f"{field_name(self._client.field, 'timeout_s')} if it is only slow"
            )

    def _tell(self, trouble: Trouble) -> None:
        if trouble.reason not in self._told:
            self._told.add(trouble.reason)
            logger.warning("first row without a reply, %s: %s", trouble.reason, trouble.detail)


def _rename_limit(body: dict[str, Any]) -> dict[str, Any]:
    return {"max_completion_tokens" if name == "max_tokens" else name: value for name, value in body.items()}
