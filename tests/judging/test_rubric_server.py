"""The rubric and listwise judges behind a real server."""

import itertools
import json
import math
import re
from collections.abc import Iterator

import pytest

from generation.chat_client import ChatClient
from judging.asking.dialogue import NoReplies
from judging.asking.reply_store import ReplyStore
from judging.asking.server_model import ServerModel
from judging.engine_config import ServerConfig
from judging.rubric import RubricJudge
from tests.fake_openai import FakeServer, chat_body, raw, status
from tests.judging.chat_judges import aspects, item, listwise_config, rate, rate_together, rubric_config

SURROGATE = "half \ud83d and \0"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def model_of(server: FakeServer, concurrency: int = 2, **changes) -> ServerModel:
    config = ServerConfig(name="openai", base_url=server.base_url, model="judge", concurrency=concurrency, **changes)
    return ServerModel(config, ChatClient(config.base_url, "", None, concurrency, 10.0, max_retries=0))


def with_logprobs(**shares: float) -> dict:
    """What vLLM says of one token: all alternatives, those ruled out with -9999."""
    alternatives = [
        {"token": name.strip("_"), "logprob": math.log(share) if share else -9999.0, "bytes": None}
        for name, share in shares.items()
    ]
    return {"content": [alternatives[0] | {"top_logprobs": alternatives}]}


def test_verdict_carries_rationale_reply_and_tokens(server):
    server.answer = lambda body: chat_body(["Right.\nScore: 5"])
    [verdict] = rate(rubric_config(), model_of(server), item())
    assert (verdict.score, verdict.rationale, verdict.raw_reply) == (5, "Right.", "Right.\nScore: 5")
    assert (verdict.n_tokens_in, verdict.n_tokens_out) == (7, 3)
    assert server.bodies[0] | {"messages": []} == {
        "model": "judge", "messages": [], "temperature": 0.0, "max_tokens": 512
    }  # fmt: skip


def test_expected_score_is_read_from_what_a_server_gives(server):
    server.answer = lambda body: chat_body(["4"], finish_reason="length", logprobs=with_logprobs(_4=0.5, _3=0.5, _1=0))
    [verdict] = rate(rubric_config(verdict="expected", constrained=True), model_of(server), item())
    assert verdict.score == pytest.approx(3.5)
    assert verdict.aspects == pytest.approx({"helpfulness": 3.5, "helpfulness.mass": 1.0})
    body = server.bodies[0]
    assert (body["max_tokens"], body["logprobs"], body["top_logprobs"]) == (1, True, 20)
    assert body["structured_outputs"] == {"choice": ["1", "2", "3", "4", "5"]}


def test_server_without_log_probs_ends_the_run(server):
    server.answer = lambda body: chat_body(["4"])
    with pytest.raises(ValueError, match=r"needs log-probs, and .*judge.* gives none .*: set verdict to written"):
        rate(rubric_config(verdict="expected"), model_of(server), *[item()] * 10)
    assert len(server.bodies) <= 8


def test_server_that_has_learned_to_give_log_probs_is_asked_again(server, tmp_path):
    config = rubric_config(verdict="expected", aspects=aspects(wit=1, truth=1, order=1))
    server.answer = lambda body: chat_body(["4"])
    model = model_of(server)
    with ReplyStore(tmp_path, model.identity) as store, pytest.raises(ValueError, match="needs log-probs"):
        rate(config, model, *[item(candidate_id=f"c{n}") for n in range(10)], replies=store)
    server.answer = lambda body: chat_body(["4"], finish_reason="length", logprobs=with_logprobs(_4=0.5, _3=0.5))
    with ReplyStore(tmp_path, model.identity) as store:
        verdicts = rate(config, model, *[item(candidate_id=f"c{n}") for n in range(10)], replies=store)
    assert [verdict.score for verdict in verdicts] == pytest.approx([3.5] * 10)


def test_budget_of_one_call_is_done_after_as_many_runs_as_there_are_calls(server, tmp_path):
    def answer(body: dict) -> dict:
        is_rating = body.get("logprobs", False)
        return chat_body(["4" if is_rating else "Good."], logprobs=with_logprobs(_4=1.0) if is_rating else None)

    server.answer = answer
    config = rubric_config(verdict="expected", rationale=True, aspects=aspects(wit=1, truth=1))
    for calls in range(1, 5):
        model = model_of(server, budget={"max_calls": 1})
        with ReplyStore(tmp_path, model.identity) as store:
            [verdict] = rate(config, model, item(), replies=store)
        assert (verdict.reason, len(server.bodies)) == ("budget" if calls < 4 else None, calls)
    assert verdict.score == 4


def test_budget_below_the_number_of_unreadable_replies_is_not_spent_on_these_alone(server, tmp_path):
    server.answer = lambda body: chat_body(["Hm." if "no rating" in body["messages"][1]["content"] else "Score: 4"])
    items = [item("no rating" if n < 3 else "fine", f"c{n}") for n in range(8)]
    for run in range(4):
        model = model_of(server, budget={"max_calls": 2})
        with ReplyStore(tmp_path, model.identity) as store:
            verdicts = rate(rubric_config(), model, *items, replies=store)
        assert ("budget" in {verdict.reason for verdict in verdicts}) == (run < 3)
    assert [verdict.reason for verdict in verdicts] == ["no_verdict"] * 3 + [None] * 5
    assert len(server.bodies) == 8
    with ReplyStore(tmp_path, model.identity) as store:  # now that all is paid for, the unreadable ones are asked again
        rate(rubric_config(), model_of(server), *items, replies=store)
    assert len(server.bodies) == 11


def test_samples_are_choices_of_one_request(server):
    server.answer = lambda body: chat_body([f"Score: {1 + i % 2}" for i in range(body["n"])])
    [verdict] = rate(rubric_config(n_samples=20, temperature=1.0), model_of(server), item())
    assert (verdict.score, verdict.uncertainty, len(server.bodies)) == (1.5, 0.5, 1)


def test_ratings_of_a_group_come_from_one_request_with_their_schema(server):
    def answer(body: dict) -> dict:
        names = body["structured_outputs"]["json"]["required"]
        user = body["messages"][1]["content"]
        texts = dict(re.findall(r"ANSWER ([a-z]{4})\]\n(x+)\n", user))
        return chat_body([json.dumps({n: {"rationale": "", "score": len(texts[n])} for n in names})])

    server.answer = answer
    verdicts = rate_together(listwise_config(), model_of(server), *[item("x" * n, f"c{n}") for n in (1, 3, 2)])
    assert [verdict.score for verdict in verdicts] == [1, 3, 2]
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (chat_body(["Good.\nScore: 1"], finish_reason="length"), "truncated"),
        (chat_body(["Score: 5"], finish_reason="content_filter"), "content_filter"),
        (chat_body([""]), "empty_reply"),
        ({"choices": []}, "invalid_reply"),
        ({"score": 5}, "invalid_reply"),
        ({"choices": [{"message": {"content": {"score": 5}}}]}, "invalid_reply"),
        (chat_body(["Score: 5 of course"]), "unreadable"),
    ],
)
def test_unfit_reply_leaves_the_answer_unscored(server, reply, reason):
    server.answer = lambda body: reply
    [verdict] = rate(rubric_config(), model_of(server), item())
    assert (verdict.score, verdict.reason) == (None, reason)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (status(500), "server_error"),
        (status(429), "rate_limited"),
        (status(400, "maximum context length is 8 tokens"), "too_long"),
        (raw(b"Score: 5"), "invalid_json"),
    ],
)
def test_trouble_with_the_server_leaves_one_answer_unscored_and_scores_the_others(server, fault, reason):
    server.answer = lambda body: chat_body(["Score: 2"])
    server.script = [fault]
    verdicts = rate(rubric_config(), model_of(server), *[item()] * 6)
    assert sorted((verdict.score or 0, verdict.reason or "") for verdict in verdicts) == [(0, reason)] + [(2, "")] * 5


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's advice, from a megabyte on
def test_hostile_answers_reach_the_server_and_come_back(server):
    server.answer = lambda body: chat_body(["half \ud83d.\nScore: 3"])
    large = item("x y\n" * 250_000)
    verdicts = rate(rubric_config(), model_of(server), item(SURROGATE), item(""), large)
    assert [(verdict.score, verdict.rationale) for verdict in verdicts] == [(3, "half \ufffd.")] * 3
    assert max(len(body["messages"][1]["content"]) for body in server.bodies) > 1_000_000


def test_answers_are_drawn_only_as_needed(server):
    drawn = itertools.count()
    server.answer = lambda body: chat_body(["Score: 2"])
    with RubricJudge(rubric_config(), model_of(server), NoReplies()) as judge:
        verdicts = judge.score((next(drawn), item()) for _ in range(1000))
        next(verdicts)
        verdicts.close()
    assert next(drawn) <= 8
