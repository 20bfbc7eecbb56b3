import asyncio
import itertools
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from generation.chat_client import ChatClient
from generation.chat_errors import read_retry_after
from tests.fake_openai import FakeServer, chat_body, hang, raw, reset, status


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def client_of(server: FakeServer, **changes) -> ChatClient:
    options = {"concurrency": 2, "timeout_s": 5.0, "max_retries": 3, "backoff_s": 0.01, "field": "generation.engine"}
    return ChatClient(server.base_url, **(options | changes))


def bodies(count: int) -> list[tuple[int, dict]]:
    return [(i, {"model": "m", "messages": [{"role": "user", "content": str(i)}]}) for i in range(count)]


def echo(body: dict) -> dict:
    return chat_body([body["messages"][0]["content"]])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_every_request_comes_back_with_its_tag_and_reply(server):
    server.answer = echo
    replies = dict(client_of(server).chat(bodies(50)))
    assert {i: r.body["choices"][0]["message"]["content"] for i, r in replies.items()} == {i: str(i) for i in range(50)}


def test_no_request_gives_no_reply(server):
    assert list(client_of(server).chat([])) == []


def test_completions_go_to_their_own_path(server):
    [(_, reply)] = client_of(server).complete([(0, {"model": "m", "prompt": [1, 2]})])
    assert reply.reason is None
    assert server.bodies == [{"model": "m", "prompt": [1, 2]}]


def test_concurrency_is_reached_and_not_passed(server):
    server.delay_s = 0.05
    list(client_of(server, concurrency=4).chat(bodies(24)))
    assert server.peak == 4


def test_source_is_pulled_at_most_concurrency_ahead(server):
    pulled = 0
    handed_back = 0
    ahead = []

    def source():
        nonlocal pulled
        for tagged in bodies(200):
            pulled += 1
            ahead.append(pulled - handed_back)
            yield tagged

    for _ in client_of(server, concurrency=4).chat(source()):
        handed_back += 1
    assert handed_back == 200
    assert max(ahead) == 4


def test_next_request_waits_until_the_reply_before_was_taken_up(server):
    """A caller that stores replies loses at most the calls in flight when it is killed."""
    replies = client_of(server, concurrency=1).chat(bodies(10))
    for taken_up in range(10):
        next(replies)
        time.sleep(0.02)
        assert len(server.bodies) == taken_up + 1


def test_source_may_wait_for_replies(server):
    server.answer = echo
    answered: list[int] = []

    def source():
        for i, body in bodies(6):
            yield i, body
            while i not in answered:
                yield None

    for i, _ in client_of(server).chat(source()):
        answered.append(i)
    assert answered == list(range(6))


def test_source_that_waits_lets_the_rest_in_flight_go_on(server):
    server.script = [hang]
    waits = []

    def source():
        yield from bodies(3)
        waits.append(True)
        yield None
        yield 3, bodies(1)[0][1]

    reasons = {i: reply.reason for i, reply in client_of(server, timeout_s=0.5, max_retries=0).chat(source())}
    assert (reasons, waits) == ({0: "timeout", 1: None, 2: None, 3: None}, [True])


def test_source_that_waits_for_nothing_is_an_error(server):
    with pytest.raises(RuntimeError, match="nothing is in flight"):
        list(client_of(server).chat([None]))


def test_nothing_connects_before_the_first_request():
    threads = threading.active_count()
    assert list(ChatClient(f"http://127.0.0.1:{free_port()}/v1").chat(iter(()))) == []
    assert threading.active_count() == threads


def test_source_is_pulled_in_the_callers_thread(server):
    threads = set()

    def source():
        for tagged in bodies(10):
            threads.add(threading.get_ident())
            yield tagged

    list(client_of(server).chat(source()))
    assert threads == {threading.get_ident()}


def test_slow_source_does_not_hold_back_finished_replies(server):
    def source():
        for i, tagged in enumerate(bodies(3)):
            if i:
                time.sleep(0.3)
            yield tagged

    start = time.monotonic()
    replies = client_of(server).chat(source())
    next(replies)
    assert time.monotonic() - start < 0.55  # one pause, not both
    assert len(list(replies)) == 2


def test_closing_early_cancels_what_is_in_flight(server):
    server.script = [hang] * 4
    replies = client_of(server, concurrency=4).chat(itertools.chain(bodies(4), bodies(4)))
    server.script[0] = status(400)
    next(replies)
    before = threading.active_count()
    start = time.monotonic()
    replies.close()
    assert time.monotonic() - start < 1
    assert threading.active_count() < before


@pytest.fixture
def interruptible():
    """Have SIGINT raise, also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interrupt_leaves_no_thread_and_no_open_request(server):
    server.script = [hang] * 2
    before = threading.active_count()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        list(client_of(server).chat(bodies(2)))
    deadline = time.monotonic() + 10
    while (server.open or threading.active_count() > before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.open == 0
    assert threading.active_count() <= before  # a thread of an earlier test may have ended meanwhile


def test_error_in_the_source_reaches_the_caller(server):
    def source():
        yield from bodies(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(client_of(server).chat(source()))


def test_works_inside_a_running_event_loop(server):
    async def inside():
        return list(client_of(server).chat(bodies(3)))

    assert len(asyncio.run(inside())) == 3


@pytest.mark.parametrize("fault", [status(500), status(503), status(429), status(408), reset])
def test_trouble_that_heals_is_tried_again(server, fault):
    server.script = [fault, fault]
    [(_, reply)] = client_of(server).chat(bodies(1))
    assert reply.reason is None
    assert len(server.bodies) == 3


def test_requests_are_counted_with_their_retries(server):
    server.script = [status(500), status(429), status(400)]
    counts = [reply.n_requests for _, reply in client_of(server, concurrency=1).chat(bodies(2))]
    assert counts == [3, 1]
    server.script = [status(500)] * 4
    [(_, reply)] = client_of(server).chat(bodies(1))
    assert (reply.reason, reply.n_requests) == ("server_error", 4)


def test_retry_after_holds_for_all_workers(server):
    server.script = [status(429, headers={"Retry-After": "0.4"})]
    server.delay_s = 0.05
    start = time.monotonic()
    replies = list(client_of(server, concurrency=2).chat(bodies(6)))
    assert [reply.reason for _, reply in replies] == [None] * 6
    assert time.monotonic() - start > 0.4
    assert len(server.bodies) == 7


def test_retry_after_is_read_as_seconds_or_as_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert read_retry_after({"retry-after": "1.5"}) == 1.5
    assert 28 < read_retry_after({"retry-after": date}) <= 30
    assert read_retry_after({"retry-after": "-3"}) == 0
    assert read_retry_after({"retry-after": "1e9"}) == 600
    assert read_retry_after({"retry-after": "nan"}) is None
    assert read_retry_after({"retry-after": "soon"}) is None
    assert read_retry_after({}) is None


@pytest.mark.parametrize(
    ("fault", "reason"), [(status(500), "server_error"), (status(429), "rate_limited"), (status(503), "server_error")]
)
def test_trouble_that_does_not_heal_becomes_the_rows_reason(server, fault, reason):
    server.script = [fault] * 3
    [(_, reply)] = client_of(server, max_retries=2).chat(bodies(1))
    assert (reply.body, reply.reason) == (None, reason)
    assert len(server.bodies) == 3


def test_hanging_request_times_out_while_others_go_on(server):
    server.script = [hang]
    replies = [reply.reason for _, reply in client_of(server, timeout_s=0.3, max_retries=0).chat(bodies(20))]
    assert sorted(map(str, replies)) == ["None"] * 19 + ["timeout"]


def test_broken_connection_becomes_the_rows_reason_while_others_go_on(server):
    server.script = [reset]
    replies = [reply.reason for _, reply in client_of(server, max_retries=0).chat(bodies(20))]
    assert replies.count("connection") == 1


@pytest.mark.parametrize("content", [b"{not json", b"[1, 2]", b"<html>wrong door</html>", b"\xff\xfe", b""])
def test_reply_that_is_no_json_object_becomes_the_rows_reason(server, content):
    server.script = [raw(content)]
    [(_, reply)] = client_of(server).chat(bodies(1))
    assert (reply.body, reply.reason) == (None, "invalid_json")
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (status(400, "This model's maximum context length is 512 tokens."), "too_long"),
        (status(400, "no", error_code="context_length_exceeded"), "too_long"),
        (status(413, "Payload too large"), "too_long"),
        (status(400, "temperature must be non-negative"), "bad_request"),
        (status(422, "messages: field required"), "bad_request"),
    ],
)
def test_refused_request_becomes_the_rows_reason_and_is_not_repeated(server, fault, reason):
    server.script = [fault]
    replies = [reply.reason for _, reply in client_of(server, concurrency=1).chat(bodies(3))]
    assert replies == [reason, None, None]
    assert len(server.bodies) == 3


def test_any_text_gets_through_and_half_a_surrogate_pair_is_replaced(server):
    server.answer = echo
    texts = ["\ud83d", "half \udc00 a pair", "a whole \U0001f600", "NUL \x00", "\u2028", "y" * 1_000_000]
    requests = [(i, {"messages": [{"role": "user", "content": text}]}) for i, text in enumerate(texts)]
    replies = {i: reply.body for i, reply in client_of(server).chat(requests)}
    said = [replies[i]["choices"][0]["message"]["content"] for i in range(len(texts))]
    assert said == ["\ufffd", "half \ufffd a pair", *texts[2:]]


def test_body_goes_as_json(server):
    seen = []

    async def look(request):
        seen.append(request.headers["Content-Type"])
        return web.json_response(chat_body(["yes"]))

    server.script = [look]
    list(client_of(server).chat(bodies(1)))
    assert seen == ["application/json"]


def test_prompt_that_sets_off_a_filter_is_its_own_reason(server):
    server.script = [status(400, "triggering content management policy", error_code="content_filter")]
    [(_, reply)] = client_of(server).chat(bodies(1))
    assert reply.reason == "content_filter"


def test_limit_is_renamed_for_a_model_that_refuses_max_tokens(server):
    async def refuse_old_name(request):
        body = await request.json()
        if "max_tokens" in body:
            return await status(400, "Unsupported parameter: use 'max_completion_tokens' instead.")(request)
        return web.json_response(echo(body))

    server.script = [refuse_old_name] * 20
    requests = [(i, body | {"max_tokens": 9}) for i, body in bodies(8)]
    replies = [reply.reason for _, reply in client_of(server, concurrency=2, max_retries=0).chat(requests)]
    assert replies == [None] * 8
    assert len(server.bodies) <= 8 + 2
    assert server.bodies[-1]["max_completion_tokens"] == 9


@pytest.mark.parametrize(
    ("fault", "field"),
    [
        (status(401), "generation.engine.api_key_env"),
        (status(403), "generation.engine.api_key_env"),
        (status(404), "generation.engine.model"),
        (status(405), "generation.engine.base_url"),
        (status(429, error_code="insufficient_quota"), "quota"),
    ],
)
def test_refusal_of_the_whole_run_raises_at_once_and_names_the_field(server, fault, field):
    server.script = [fault]
    with pytest.raises(ValueError, match=field) as error:
        list(client_of(server, concurrency=1).chat(bodies(3)))
    assert server.base_url in str(error.value)
    assert len(server.bodies) == 1


def test_key_comes_from_its_variable_and_no_message_shows_it(server, monkeypatch, caplog):
    monkeypatch.setenv("JUDGE_KEY", "sk-secret-1")
    caplog.set_level(logging.DEBUG)
    server.script = [status(400, "bad thing, key sk-secret-1"), status(401, "wrong key: sk-secret-1")]
    client = client_of(server, api_key_env="JUDGE_KEY", concurrency=1)
    with pytest.raises(ValueError, match="401") as error:
        list(client.chat(bodies(2)))
    assert server.keys[0] == "Bearer sk-secret-1"
    assert "sk-secret-1" not in f"{error.value} {client!r} {caplog.text}"


@pytest.mark.parametrize("fault", [status(400, "none of it"), raw(b"none of it")])
def test_without_a_key_no_word_is_starred_out(server, fault):
    server.script = [fault]
    [(_, reply)] = client_of(server).chat(bodies(1))
    assert reply.detail == "none of it"


def test_a_refusal_nested_too_deep_to_be_read_is_a_reason_like_others(server):
    server.script = [raw(b"[" * 200_000, 400)]
    [(_, reply)] = client_of(server).chat(bodies(1))
    assert reply.reason == "bad_request"


def test_key_of_another_service_is_not_sent(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-openai")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin")
    list(client_of(server).chat(bodies(1)))
    assert server.keys == ["Bearer none"]


def test_proxy_settings_are_ignored_on_loopback(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    [(_, reply)] = client_of(server).chat(bodies(1))
    assert reply.reason is None


def test_missing_key_variable_is_named(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ValueError, match=r"NO_SUCH_KEY is not set: judging.annotator.api_key_env"):
        ChatClient("http://127.0.0.1:1/v1", field="judging.annotator", api_key_env="NO_SUCH_KEY")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://user:pass@host/v1", "password"),
        ("http://host/v1?key=pass", "query"),
        ("host:8000/v1", "no address"),
        ("ftp://host/v1", "no address"),
        ("http://user:pass/v1", "no address"),
        ("http://host:99999/pass", "no address"),
        ("http://[::1/pass", "no address"),
        ("", "no address"),
    ],
)
def test_unfit_address_is_refused_without_repeating_it(address, said):
    with pytest.raises(ValueError, match=said) as error:
        ChatClient(address)
    assert "pass@" not in str(error.value)
    assert "key=pass" not in str(error.value)


def test_no_server_at_the_address_is_said_at_once():
    address = f"http://127.0.0.1:{free_port()}/v1"
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"no server answers at .* start it or fix generation.engine.base_url"):
        list(ChatClient(address, field="generation.engine").chat(bodies(3)))
    assert time.monotonic() - start < 5


def test_server_that_falls_silent_ends_the_run(server):
    server.script = [status(400)] + [hang] * 20
    with pytest.raises(ConnectionError, match="has not answered 4 requests"):
        list(client_of(server, timeout_s=0.1, max_retries=1).chat(bodies(8)))


def test_server_that_dies_midway_ends_the_run():
    with FakeServer() as server:
        replies = client_of(server, max_retries=1).chat(bodies(100))
        next(replies)
    with pytest.raises(ConnectionError, match="has not answered 4 requests"):
        list(replies)


def test_one_warning_for_each_kind_of_row_trouble(server, caplog):
    server.script = [status(400, "odd request")] * 5
    list(client_of(server, concurrency=1).chat(bodies(6)))
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "first row without a reply, bad_request: odd request"
    ]
