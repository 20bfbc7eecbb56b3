"""One client under load, in a process of its own: the judge's whole path, the bare `openai` client, a raw generator.

    python -m benchmarks.judge_client_forms FORM --url http://127.0.0.1:8199/v1 --concurrency 64 --rows 1024

A row is a system message and a fresh user message of 2,300 characters; the reply is one token with its log-probs, read
as an expected score. Prints one JSON object. Rate and CPU count from the reply that ends the warm-up (twice the calls
in flight) to the last one.
"""

import argparse
import asyncio
import json
import math
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any  # values of JSON

WORDS = "the answer is clear and short yet it leaves out what was asked in the second half of the question "
LABELS = {"1", "2", "3", "4", "5"}
FIELDS = {"model": "mock", "temperature": 0.0, "max_tokens": 1, "logprobs": True, "top_logprobs": 20}
SYSTEM_CHARS, USER_CHARS = 930, 2310  # about what the rubric judge writes around an answer of ANSWER_CHARS
ANSWER_CHARS = 2050


def text_of(row: int, chars: int) -> str:
    """Give a text that no other row has."""
    return f"{row:08d} {WORDS * 30}"[:chars]


def messages(row: int) -> list[dict[str, str]]:
    """Give messages as long as the judge's."""
    system = {"role": "system", "content": (WORDS * 30)[:SYSTEM_CHARS]}
    return [system, {"role": "user", "content": text_of(row, USER_CHARS)}]


def expect(logprobs: dict[str, float]) -> float | None:
    """Give the expected score (G-Eval); None where ratings have less than 0.8 of the probability."""
    mass = {text: math.exp(value) for text, value in logprobs.items() if text in LABELS}
    total = sum(mass.values())
    return sum(int(text) * share for text, share in mass.items()) / total if total >= 0.8 else None


class Meter:
    """Counts rows; measures from the end of the warm-up to the last row."""

    def __init__(self, rows: int, warm_up: int) -> None:
        self.rows, self.warm_up, self.count = rows, warm_up, 0
        self.reasons: dict[str, int] = {}
        self.peaks_mb: dict[int, float] = {}
        self.ends: list[tuple[float, float]] = []

    def add(self, reason: str | None) -> None:
        """Count a row."""
        self.count += 1
        self.reasons[str(reason)] = self.reasons.get(str(reason), 0) + 1
        if self.count in (self.warm_up, self.rows):
            usage = resource.getrusage(resource.RUSAGE_SELF)
            self.ends.append((time.perf_counter(), usage.ru_utime + usage.ru_stime))
        if self.count in (1000, 10_000, self.rows):
            self.peaks_mb[self.count] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def result(self) -> dict[str, Any]:
        """Give what was measured."""
        (t0, cpu0), (t1, cpu1) = self.ends
        n = self.rows - self.warm_up
        rate = {"rows_per_s": n / (t1 - t0), "cpu_ms": 1000 * (cpu1 - cpu0) / n}
        return {"rows": self.count, "reasons": self.reasons, "peaks_mb": self.peaks_mb, **rate}


def run_judge(args: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """The judge's path: the rubric judge, its dialogues, the model behind the server, the store of replies."""
    from generation.chat_client import ChatClient
    from judging.asking.reply_store import ReplyStore
    from judging.asking.server_model import ServerModel
    from judging.chat_config import RubricConfig
    from judging.engine_config import ServerConfig
    from judging.judge import Item
    from judging.rubric import RubricJudge

    def item(row: int) -> Item:
        asked = [{"role": "user", "content": "What does the question leave open?"}]
        return Item(f"c{row}", f"p{row}", asked, text_of(row, ANSWER_CHARS), None, {})

    options = {"concurrency": args.concurrency, "timeout_s": args.timeout_s, "max_retries": 5}
    engine = ServerConfig(name="openai", base_url=args.url, model="mock", **options)
    model = ServerModel(engine, ChatClient.from_config(engine))
    seen = set()
    with (
        ReplyStore(args.store, model.identity) as store,
        RubricJudge(RubricConfig(kind="rubric", engine=engine), model, store) as judge,
    ):
        for row, verdict in judge.score((row, item(row)) for row in range(args.rows)):
            if args.check_rows:
                seen.add(row)
            meter.add(verdict.reason)
    spent = {"calls": model.spent.calls, "retries": model.spent.retries}
    return {"distinct_rows": len(seen) if args.check_rows else None, "spent": spent}


def run_openai(args: argparse.Namespace, meter: Meter, *, aiohttp: bool) -> dict[str, Any]:
    """The bare client: a pool of workers on one iterator."""
    import openai

    async def work(client: openai.AsyncOpenAI, rows: Iterator[int]) -> None:
        for row in rows:
            reply: Any = await client.chat.completions.create(messages=messages(row), **FIELDS)  # type: ignore[arg-type]
            top = reply.choices[0].logprobs.content[0].top_logprobs
            meter.add(None if expect({one.token: one.logprob for one in top}) is not None else "mass")

    async def drive() -> None:
        transport = openai.DefaultAioHttpClient() if aiohttp else None
        async with openai.AsyncOpenAI(
            base_url=args.url, api_key="none", max_retries=0, http_client=transport
        ) as client:
            rows = iter(range(args.rows))
            await asyncio.gather(*(work(client, rows) for _ in range(args.concurrency)))

    asyncio.run(drive())
    return {}


def run_raw(args: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    """The ceiling: prebuilt bytes over sockets, replies counted and not read."""
    host, port = args.url.split("/")[2].split(":")
    body = json.dumps({**FIELDS, "messages": messages(0)}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    class Caller(asyncio.Protocol):
        def __init__(self, rows: Iterator[int], done: asyncio.Future[None]) -> None:
            self.rows, self.done, self.buffer = rows, done, b""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: Any = transport
            self.call()

        def call(self) -> None:
            if next(self.rows, None) is None:
                self.transport.close()
                self.done.set_result(None)
            else:
                self.transport.write(request)

        def data_received(self, data: bytes) -> None:
            self.buffer += data
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if found and len(rest) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
                self.buffer = b""
                meter.add(None)
                self.call()

    async def drive() -> None:
        loop, rows = asyncio.get_running_loop(), iter(range(args.rows))
        done = [loop.create_future() for _ in range(args.concurrency)]
        for one in done:
            await loop.create_connection(lambda one=one: Caller(rows, one), host, int(port))
        await asyncio.gather(*done)

    asyncio.run(drive())
    return {}


def main() -> None:
    """Run one form and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("form", choices=["judge", "openai", "openai_aiohttp", "raw"])
    parser.add_argument("--url", required=True)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--timeout-s", type=float, default=60.0)
    parser.add_argument("--store", type=Path, help="folder of the stored replies; a fresh one where it is not given")
    parser.add_argument("--check-rows", action="store_true", help="remember which rows came back")
    args = parser.parse_args()
    meter = Meter(args.rows, min(2 * args.concurrency, args.rows // 2))
    with tempfile.TemporaryDirectory() as folder:
        args.store = args.store or Path(folder)
        if args.form == "judge":
            more = run_judge(args, meter)
        elif args.form == "raw":
            more = run_raw(args, meter)
        else:
            more = run_openai(args, meter, aiohttp=args.form == "openai_aiohttp")
    print(json.dumps(meter.result() | more))


if __name__ == "__main__":
    main()
