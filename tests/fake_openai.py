"""A small OpenAI-compatible server on loopback, real HTTP in a thread of its own, that misbehaves on request."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Self

from aiohttp import web

Step = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status(code: int, message: str = "no", headers: dict | None = None, error_code: str | None = None) -> Step:
    async def step(request: web.Request) -> web.StreamResponse:
        body = {"error": {"message": message, "code": error_code or code}}
        return web.json_response(body, status=code, headers=headers)

    return step


def raw(content: bytes, code: int = 200) -> Step:
    async def step(request: web.Request) -> web.StreamResponse:
        return web.Response(body=content, status=code, content_type="application/json")

    return step


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return web.Response()


async def reset(request: web.Request) -> web.StreamResponse:
    """Break the connection (RST) before a byte of an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def chat_body(texts: Iterable[str], **choice: object) -> dict:
    """A chat completion with one choice for each text."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"} | choice
        for i, text in enumerate(texts)
    ]
    return {"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 3 * len(choices)}}


class FakeServer:
    """Answers a request with the next step of `script`, then with `answer(body)`.

    Attributes:
        script: Steps for the coming requests, taken from the front.
        answer: From a request's body to the JSON of the answer.
        delay_s: Seconds before an answer.
        bodies: Bodies of the requests so far, in order of arrival.
        keys: Their Authorization headers.
        peak: Most requests that were open at once.
    """

    def __init__(self) -> None:
        self.script: list[Step] = []
        self.answer: Callable[[dict], dict] = lambda body: chat_body(["yes"] * body.get("n", 1))
        self.delay_s = 0.0
        self.bodies: list[dict] = []
        self.keys: list[str] = []
        self.peak = 0
        self.open = 0
        self.base_url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/v1/chat/completions", self._handle)
        app.router.add_post("/v1/completions", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.keys.append(request.headers.get("Authorization", ""))
        self.open += 1
        self.peak = max(self.peak, self.open)
        try:
            if self.script:
                return await self.script.pop(0)(request)
            await asyncio.sleep(self.delay_s)
            return web.json_response(self.answer(body))
        finally:
            self.open -= 1
