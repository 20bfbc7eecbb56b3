"""Servers that fail, and the keys they want. A test's first line is the fault's name in docs/faults.md."""

import json
import logging
import socket
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from aiohttp import web

from generation.chat_client import ChatClient
from generation.config import OpenAIConfig, SamplingConfig
from generation.engine import Answer, PolicyFiles, Request
from generation.openai_engine import OpenAIEngine
from tests.fake_openai import FakeServer, chat_body, hang, raw, reset, status

KEY = "sk-neverShow0123456789"


def client_of(server: FakeServer, **changes) -> ChatClient:
    options = {"concurrency": 4, "timeout_s": 5.0, "max_retries": 4, "backoff_s": 0.01, "field": "judging.annotator"}
    return ChatClient(server.base_url, **(options | changes))


def bodies(count: int) -> list[tuple[int, dict]]:
    return [(i, {"model": "m", "messages": [{"role": "user", "content": str(i)}]}) for i in range(count)]


def echo(body: dict) -> dict:
    return chat_body([body["messages"][0]["content"]] * body.get("n", 1))


def sample(server: FakeServer, count: int, **changes) -> dict[int, Answer]:
    """Ask for two answers to each of some questions."""
    options = {"base_url": server.base_url, "model": "big", "concurrency": 2, "max_retries": 0}
    policy, sampling = PolicyFiles("big", "big"), SamplingConfig(max_new_tokens=8)
    with OpenAIEngine(OpenAIConfig(**(options | changes)), policy, 2, sampling) as engine:
        asked = ((i, Request(str(i), [{"role": "user", "content": str(i)}], [], 64 * i)) for i in range(count))
        return dict(engine.sample(asked))


def test_server_gone_in_the_middle(server: FakeServer):
    """Server gone in the middle of a stage"""
    server.answer = echo
    replies = client_of(server, max_retries=1).chat(bodies(200))
    done = [next(replies) for _ in range(10)]
    assert all(reply.body for _, reply in done)
    server.script = [reset] * 1000
    with pytest.raises(ConnectionError, match="has not answered 4 requests in a row, each tried 2 times"):
        list(replies)


def test_a_fifth_of_the_requests_fail(server: FakeServer):
    """A fifth of all requests fail"""
    server.answer = echo
    faults = [status(500), status(429, headers={"Retry-After": "0"}), reset, raw(b'{"choices": ['), status(503)]

    async def well(request: web.Request) -> web.StreamResponse:
        return web.json_response(echo(await request.json()))

    server.script = [faults[(i // 5) % len(faults)] if i % 5 == 0 else well for i in range(300)]
    replies = dict(client_of(server).chat(bodies(200)))
    assert len(replies) == 200
    failed = {reply.reason for reply in replies.values() if reply.body is None}
    assert failed <= {"invalid_json"}  # half an answer is not tried again: the row is, by the next run
    for i, reply in replies.items():
        assert reply.body is None or reply.body["choices"][0]["message"]["content"] == str(i)  # nobody else's answer


def test_connection_refused():
    """No server at the address"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    client = ChatClient(address, "judging.annotator", max_retries=1, backoff_s=0.01)
    with pytest.raises(ConnectionError, match=r"no server answers at .*: start it or fix judging.annotator.base_url"):
        list(client.chat(bodies(3)))


def test_server_that_never_answers(server: FakeServer):
    """Server that takes requests and never answers"""
    server.script = [hang] * 100
    client = client_of(server, timeout_s=0.2, max_retries=0)
    with pytest.raises(ConnectionError, match=r"raise judging.annotator.timeout_s if it is only slow"):
        list(client.chat(bodies(20)))


def test_wrong_key_is_not_in_the_message(server: FakeServer, monkeypatch, caplog):
    """Wrong API key, which the server repeats"""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    server.script = [status(401, f"Incorrect API key provided: {KEY}")] * 10
    with pytest.raises(ValueError, match=r"set judging.annotator.api_key_env to the name of") as caught:
        list(client_of(server, api_key_env="JUDGE_KEY").chat(bodies(5)))
    assert KEY not in str(caught.value)
    assert KEY not in caplog.text


def test_key_that_no_header_can_carry(server: FakeServer, monkeypatch):
    """API key with a line end or other letters in it"""
    for bad in (KEY + "\n", "sk neverShow", "sk-\u00e9l\u00e9phant", "sk-\x7f"):
        monkeypatch.setenv("JUDGE_KEY", bad)
        with pytest.raises(ValueError, match=r"JUDGE_KEY, which judging.annotator.api_key_env names") as caught:
            client_of(server, api_key_env="JUDGE_KEY")
        assert bad.strip() not in str(caught.value)


def test_key_in_no_file_of_a_run(server: FakeServer, prefloop, tmp_path: Path):
    """API key in an answer that is no JSON"""
    server.answer = lambda body: chat_body(["Fine.\nScore: 4"])
    server.script = [raw(f"<html>who are you, {KEY}?</html>".encode())]
    rows = [{"prompt": f"Say {i}", "response": f"{i}"} for i in range(3)]
    (tmp_path / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prefloop("import", tmp_path / "answers.jsonl", "--output", tmp_path / "in")
    done = prefloop(
        "judge", "--kind", "rubric", "--set", "verdict=written",
        "--set", f"engine={{name: openai, base_url: '{server.base_url}', model: m, concurrency: 1}}",
        "--set", "engine.api_key_env=JUDGE_KEY", "--max-unscored", "0", "--verbose",
        *(f"--{name}={tmp_path / 'in' / name}.parquet" for name in ("prompts", "candidates")),
        "--output", tmp_path / "scores.parquet", code=1, JUDGE_KEY=KEY,
    )  # fmt: skip
    assert server.keys[0] == f"Bearer {KEY}"
    assert "1 of 3" in done.stderr
    written = [done.stdout.encode(), done.stderr.encode()]
    written += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in content for content in written)


def test_answer_with_half_a_character(server: FakeServer):
    """Lone surrogate in a server's answer"""
    server.script = [raw(json.dumps(chat_body(["yes", "yes"])).encode())]  # the opening question
    halves = chat_body(["cut \ud83d", "whole"])
    server.answer = lambda body: halves if body["messages"][0]["content"] == "1" else chat_body(["a", "b"])
    answers = sample(server, 3)
    assert [completion.text for completion in answers[1].completions] == ["cut \ufffd", "whole"]
    assert [completion.text for completion in answers[2].completions] == ["a", "b"]


def test_judge_with_half_a_character(server: FakeServer, prefloop, tmp_path: Path):
    """Lone surrogate in a judge's reply"""
    server.answer = lambda body: chat_body(["\ud83d\nScore: 4"])
    (tmp_path / "answers.jsonl").write_text(json.dumps({"prompt": "Say A", "response": "A"}))
    prefloop("import", tmp_path / "answers.jsonl", "--output", tmp_path / "in")
    prefloop(
        "judge", "--kind", "rubric", "--set", "verdict=written",
        "--set", f"engine={{name: openai, base_url: '{server.base_url}', model: m}}",
        *(f"--{name}={tmp_path / 'in' / name}.parquet" for name in ("prompts", "candidates")),
        "--output", tmp_path / "scores.parquet",
    )  # fmt: skip
    [row] = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert (row["score"], row["rationale"]) == (4.0, "\ufffd")
