import json
import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.chat_client import ChatClient
from judging.asking.chat import Question
from judging.asking.chat_wire import read_completion
from judging.asking.server_model import ServerModel
from judging.asking.spent import Spent
from judging.engine_config import ServerConfig
from tests.fake_openai import FakeServer, chat_body, hang, raw, status

SCHEMA = {"type": "object", "properties": {"score": {"type": "integer"}}}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def model_of(server: FakeServer, **changes) -> ServerModel:
    options = {"name": "openai", "base_url": server.base_url, "model": "judge", "concurrency": 2, "max_retries": 0}
    config = ServerConfig(**(options | changes))
    client = ChatClient(config.base_url, "", None, config.concurrency, config.timeout_s, config.max_retries, 0.01)
    return ServerModel(config, client)


def question(text: str = "Rate it.", **changes) -> Question:
    values = {"messages": [{"role": "user", "content": text}], "max_new_tokens": 1, "temperature": 0.0, "seed": 7}
    return Question(**(values | changes))


def ask(model: ServerModel, *questions: Question) -> list:
    with model:
        replies = dict(model.ask(enumerate(questions)))
    return [replies[i] for i in range(len(questions))]


def logprobs(*positions: list[tuple[str, float]]) -> dict:
    """What a server says of each position: the token drawn first, then the alternatives, that one among them."""
    content = []
    for alternatives in positions:
        entries = [{"token": token, "logprob": value, "bytes": list(token.encode())} for token, value in alternatives]
        content.append(entries[0] | {"top_logprobs": entries})
    return {"content": content}


def test_question_becomes_the_body_of_a_chat_completion(server):
    ask(model_of(server), question())
    assert server.bodies == [
        {
            "model": "judge",
            "messages": [{"role": "user", "content": "Rate it."}],
            "temperature": 0.0,
            "max_tokens": 1,
        }
    ]


def test_sampling_sends_seed_and_number_of_choices(server):
    [reply] = ask(model_of(server), question(temperature=0.7, n=3))
    assert (server.bodies[0]["seed"], server.bodies[0]["n"], len(reply.choices)) == (7, 3, 3)


def test_log_probs_are_asked_for_up_to_twenty_alternatives(server):
    ask(model_of(server), question(top_logprobs=50))
    assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 20)


@pytest.mark.parametrize(
    ("constraint", "structured", "field"),
    [
        ({"choice": ("A", "B")}, "structured_outputs", {"structured_outputs": {"choice": ["A", "B"]}}),
        ({"json_schema": json.dumps(SCHEMA)}, "structured_outputs", {"structured_outputs": {"json": SCHEMA}}),
        (
            {"json_schema": json.dumps(SCHEMA)},
            "response_format",
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "verdict", "schema": SCHEMA, "strict": True},
                }
            },
        ),
    ],
)
def test_constraint_is_told_in_the_way_of_the_config(server, constraint, structured, field):
    ask(model_of(server, structured=structured), question(**constraint))
    assert field.items() <= server.bodies[0].items()


def test_fixed_texts_as_response_format_are_an_error_that_names_the_field(server):
    with pytest.raises(ValueError, match=r"engine.structured is response_format"):
        ask(model_of(server, structured="response_format"), question(choice=("A", "B")))


def test_texts_finish_reasons_and_tokens_come_back(server):
    server.answer = lambda body: chat_body(["one", "two"], finish_reason="length")
    [reply] = ask(model_of(server), question(n=2))
    assert [(choice.text, choice.finish_reason, choice.logprobs) for choice in reply.choices] == [
        ("one", "length", None),
        ("two", "length", None),
    ]
    assert (reply.reason, reply.n_tokens_in, reply.n_tokens_out, reply.cost) == (None, 7, 6, None)


def test_choices_come_in_the_order_of_their_index():
    body = chat_body(["a", "b", "c"])
    body["choices"].reverse()
    assert [choice.text for choice in read_completion(body).choices] == ["a", "b", "c"]


def test_log_probs_are_dicts_by_text_for_each_position(server):
    said = logprobs([("4", -0.1), ("5", -2.5)], [(".", -0.2)])
    server.answer = lambda body: chat_body(["4."], logprobs=said)
    [reply] = ask(model_of(server), question(top_logprobs=2))
    assert reply.choices[0].logprobs == [{"4": -0.1, "5": -2.5}, {".": -0.2}]


def test_tokens_of_one_text_are_added_as_probabilities():
    said = logprobs([("4", math.log(0.5)), ("4", math.log(0.25)), ("5", math.log(0.2))])
    [position] = read_completion(chat_body(["4"], logprobs=said)).choices[0].logprobs or []
    assert math.exp(position["4"]) == pytest.approx(0.75)
    assert math.exp(position["5"]) == pytest.approx(0.2)


def test_token_drawn_that_is_no_alternative_is_kept():
    said = logprobs([("4", -3.0)])
    said["content"][0]["top_logprobs"] = [{"token": "5", "logprob": -0.1}]
    assert read_completion(chat_body(["4"], logprobs=said)).choices[0].logprobs == [{"5": -0.1, "4": -3.0}]


def test_ruled_out_tokens_have_no_probability():
    said = logprobs([("A", -0.4285), ("B", -1.054), ("the", -9999.0), ("the", -9999.0)])
    [position] = read_completion(chat_body(["A"], logprobs=said)).choices[0].logprobs or []
    assert math.exp(position["the"]) == 0
    assert sum(map(math.exp, position.values())) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("token", "data", "text"),
    [
        ("token_id:19", [52], "4"),
        ("bytes:\\xe2\\x82\\xac", [0xE2, 0x82, 0xAC], "€"),
        ("bytes:\\xe2", [0xE2], "bytes:\\xe2"),
        ("4", None, "4"),
        ("4", [], "4"),
        ("4", [999], "4"),
    ],
)
def test_text_of_a_token_is_that_of_its_bytes(token, data, text):
    entry = {"token": token, "logprob": -0.1, "bytes": data}
    said = {"content": [entry | {"top_logprobs": [entry]}]}
    assert read_completion(chat_body(["x"], logprobs=said)).choices[0].logprobs == [{text: -0.1}]


@given(
    st.lists(
        st.tuples(st.sampled_from(["1", "2", " 2", "the"]), st.floats(-20, 0) | st.just(-9999.0) | st.just(-math.inf)),
        min_size=1,
        max_size=20,
    )
)
def test_probabilities_of_a_position_add_up_to_those_of_its_alternatives(alternatives):
    [position] = read_completion(chat_body(["1"], logprobs=logprobs(alternatives))).choices[0].logprobs or []
    expected = sum(math.exp(value) for _, value in alternatives)
    assert sum(map(math.exp, position.values())) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("said", [None, {}, {"content": None}, {"content": []}])
def test_text_without_the_log_probs_that_were_asked_for_is_no_reply(server, said):
    server.answer = lambda body: chat_body(["4"], logprobs=said)
    replies = ask(model_of(server), question(top_logprobs=5), question())
    assert [(reply.reason, reply.n_tokens_in) for reply in replies] == [("no_logprobs", 7), (None, 7)]
    assert replies[0].detail == "'4' came without log-probs"


def test_empty_or_filtered_reply_lacks_no_log_probs(server):
    server.answer = lambda body: chat_body([""])
    assert ask(model_of(server), question(top_logprobs=5))[0].reason is None
    server.answer = lambda body: chat_body(["I"], finish_reason="content_filter")
    assert ask(model_of(server), question(top_logprobs=5))[0].reason == "content_filter"


def test_thoughts_of_a_reasoning_model_are_left_out_with_the_log_probs_that_count_them():
    body = chat_body(["4"], logprobs=logprobs([("Hmm", -0.1)], [("4", -0.2)]))
    body["choices"][0]["message"]["reasoning_content"] = "Hmm"
    [choice] = read_completion(body).choices
    assert (choice.text, choice.logprobs) == ("4", None)


def test_reply_cut_off_amid_thoughts_is_an_empty_text():
    body = chat_body(["x"], finish_reason="length", message={"role": "assistant", "content": None, "reasoning": "Hm"})
    [choice] = read_completion(body).choices
    assert (choice.text, choice.finish_reason) == ("", "length")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"choices": []}, "invalid_reply"),
        ({"object": "error"}, "invalid_reply"),
        ({"choices": [{"text": "4"}]}, "invalid_reply"),
        (chat_body(["4"], logprobs={"content": [{"token": "4", "logprob": math.nan}]}), "invalid_reply"),
        (chat_body(["4"], logprobs={"content": [{"token": "4"}]}), "invalid_reply"),
        (chat_body(["4"], logprobs={"content": [{"token": "4", "logprob": 17.5}]}), "invalid_reply"),
        (chat_body(["4"], logprobs={"content": [{"token": "4", "logprob": math.inf}]}), "invalid_reply"),
        (chat_body(["4"], logprobs=logprobs([("4", -0.1), ("5", 2.0)])), "invalid_reply"),
        (chat_body(["4"]) | {"usage": {"prompt_tokens": 2**31, "completion_tokens": 1}}, "invalid_reply"),
        (chat_body(["4"]) | {"usage": {"prompt_tokens": 1, "completion_tokens": -1}}, "invalid_reply"),
        (chat_body(["4"], message={"content": None, "refusal": "I can't help with that."}), "refused"),
        (chat_body(["4"], finish_reason="content_filter"), "content_filter"),
    ],
)
def test_what_is_no_usable_completion_becomes_a_reason(server, body, reason):
    server.answer = lambda _: body
    [reply] = ask(model_of(server), question())
    assert (reply.choices, reply.reason) == ([], reason)
    assert reply.detail


def test_one_refusal_among_several_choices_is_a_filtered_choice():
    body = chat_body(["4", "x"])
    body["choices"][1]["message"] = {"content": None, "refusal": "No."}
    assert [(c.text, c.finish_reason) for c in read_completion(body).choices] == [
        ("4", "stop"),
        ("No.", "content_filter"),
    ]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (status(500), "server_error"),
        (status(429), "rate_limited"),
        (status(400, "maximum context length is 512 tokens"), "too_long"),
        (status(400, "odd"), "bad_request"),
        (status(400, "filtered", error_code="content_filter"), "content_filter"),
        (raw(b"{"), "invalid_json"),
        (hang, "timeout"),
    ],
)
def test_trouble_with_one_question_is_its_reason_and_the_others_go_on(server, fault, reason):
    server.script = [fault]
    model = model_of(server, concurrency=1, timeout_s=0.5)
    replies = ask(model, question("a"), question("b"))
    assert [reply.reason for reply in replies] == [reason, None]
    assert model.spent.calls == 2


@pytest.mark.parametrize(
    "text", ["half \ud83d a pair", "\udc00", "NUL \x00 byte", "x" * 1_000_000, "", "\u2028\U0001f600"]
)
def test_any_text_gets_through(server, text):
    server.answer = lambda body: chat_body([body["messages"][0]["content"]])
    [reply] = ask(model_of(server), question(text))
    assert reply.reason is None
    assert reply.choices[0].text == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def test_seed_is_left_out_for_a_server_that_refuses_it(server, caplog):
    async def refuse(request):
        body = await request.json()
        if "seed" in body:
            return await status(422, "extra field not permitted: seed")(request)
        from aiohttp import web

        return web.json_response(chat_body(["4"]))

    server.script = [refuse] * 20
    model = model_of(server)
    replies = ask(model, *[question(str(i), temperature=0.5) for i in range(8)])
    assert [reply.reason for reply in replies] == [None] * 8
    assert len(server.bodies) <= 8 + 2
    assert [
        record.message for record in caplog.records if "seed" in record.message and "no seed" in record.message
    ] == [f"{server.base_url} takes no seed: samples cannot be repeated"]


def test_refusal_that_speaks_of_a_seed_is_a_row_of_its_own_where_seeds_are_taken(server):
    server.script = [raw(json.dumps(chat_body(["4"])).encode()), status(400, "can't read: 'How do I plant a seed?'")]
    replies = ask(model_of(server, concurrency=1), *[question(str(i), temperature=0.5) for i in range(3)])
    assert [reply.reason for reply in replies] == [None, "bad_request", None]
    assert all(body["seed"] == 7 for body in server.bodies)


def test_refusal_that_goes_on_without_a_seed_is_the_rows_reason(server):
    server.script = [status(400, "seed or whatever")] * 2
    [reply] = ask(model_of(server), question(temperature=0.5))
    assert (reply.reason, len(server.bodies)) == ("bad_request", 2)


def test_server_that_refuses_several_choices_is_an_error_that_names_the_field(server):
    server.script = [status(400, "'n' : number must be at most 1")]
    with pytest.raises(ValueError, match="n_samples"):
        ask(model_of(server), question(n=3, temperature=1.0))


def test_line_end_in_a_refusal_does_not_speak_of_the_number_of_choices(server):
    server.script = [status(400, r"can't read 'a\n\n'")]
    [reply] = ask(model_of(server), question(n=3, temperature=1.0))
    assert (reply.reason, reply.detail) == ("bad_request", r"can't read 'a\n\n'")


def test_server_that_ignores_the_number_of_choices_is_an_error_that_names_the_field(server):
    server.answer = lambda body: chat_body(["4"])
    with pytest.raises(ValueError, match="gives 1 of 3 choices: it takes no `n`; set n_samples"):
        ask(model_of(server), question(n=3, temperature=1.0))


def test_fewer_choices_once_are_a_reason(server):
    counts = iter([3, 2, 3])
    server.answer = lambda body: chat_body(["4"] * next(counts))
    replies = ask(model_of(server, concurrency=1), *[question(str(i), n=3, temperature=1.0) for i in range(3)])
    assert [reply.reason for reply in replies] == [None, "fewer_choices", None]


def test_server_that_refuses_whatever_is_asked_ends_the_run(server):
    server.script = [status(400, "logprobs are not supported with this model")] * 40
    with pytest.raises(ValueError, match=r"refused the first 16 questions .*logprobs are not supported"):
        ask(model_of(server), *[question(str(i), top_logprobs=5) for i in range(40)])


def test_counters_say_what_was_spent(server):
    server.script = [status(500), status(500)]
    model = model_of(server, max_retries=3, price_in=100.0, price_out=1000.0)
    replies = ask(model, *[question(str(i)) for i in range(5)])
    cost = (7 * 100 + 3 * 1000) / 1e6
    assert [reply.cost for reply in replies] == [pytest.approx(cost)] * 5
    assert model.spent == Spent(calls=5, retries=2, tokens_in=35, tokens_out=15, cost=pytest.approx(5 * cost))


@pytest.mark.parametrize(
    ("budget", "prices", "sent"),
    [
        ({"max_calls": 3}, {}, 3),
        ({"max_tokens": 25}, {}, 3),
        ({"max_cost": 0.019}, {"price_in": 1000.0, "price_out": 0.0}, 3),
        ({"max_calls": 5, "max_tokens": 1}, {}, 1),
    ],
)
def test_budget_ends_the_asking(server, budget, prices, sent):
    model = model_of(server, concurrency=1, budget=budget, **prices)
    replies = ask(model, *[question(str(i)) for i in range(8)])
    assert [reply.reason for reply in replies] == [None] * sent + ["budget"] * (8 - sent)
    assert len(server.bodies) == model.spent.calls == sent


def test_calls_in_flight_finish_when_the_budget_is_reached(server):
    server.delay_s = 0.05
    replies = ask(model_of(server, concurrency=4, budget={"max_tokens": 10}), *[question(str(i)) for i in range(40)])
    assert [reply.reason for reply in replies].count(None) == len(server.bodies) == 4


def test_retries_count_as_calls_of_the_budget(server):
    server.script = [status(500)] * 3
    model = model_of(server, concurrency=1, max_retries=3, budget={"max_calls": 3})
    assert [reply.reason for reply in ask(model, question("a"), question("b"))] == [None, "budget"]


def test_opening_again_gives_a_fresh_budget(server):
    model = model_of(server, concurrency=1, budget={"max_calls": 1})
    assert [reply.reason for reply in ask(model, question("a"), question("b"))] == [None, "budget"]
    assert [reply.reason for reply in ask(model, question("b"))] == [None]


def test_budget_lasts_over_several_askings_of_one_opening(server):
    model = model_of(server, concurrency=1, budget={"max_calls": 1})
    with model:
        assert [reply.reason for _, reply in model.ask([(0, question("a"))])] == [None]
        assert [reply.reason for _, reply in model.ask([(0, question("b"))])] == ["budget"]


def test_budget_of_tokens_wants_a_server_that_counts_them(server):
    server.answer = lambda body: {"choices": chat_body(["4"])["choices"]}
    with pytest.raises(ValueError, match=r"engine.budget.max_tokens and max_cost cannot be kept"):
        ask(model_of(server, budget={"max_tokens": 10}), question())


def test_many_questions_beyond_the_budget_are_refused_without_a_connection(server):
    model = model_of(server, concurrency=2, budget={"max_calls": 2})
    replies = ask(model, *[question(str(i)) for i in range(5000)])
    assert [reply.reason for reply in replies].count("budget") == 4998
    assert len(server.bodies) == 2


def test_source_may_wait_for_replies(server):
    answered = []

    def source():
        for i in range(6):
            yield i, question(str(i))
            while i not in answered:
                yield None

    with model_of(server) as model:
        for tag, reply in model.ask(source()):
            assert reply.reason is None
            answered.append(tag)
    assert answered == list(range(6))


def test_source_that_waits_for_a_refusal_gets_it(server):
    answered = []

    def source():
        for i in range(6):
            yield i, question(str(i))
            while i not in answered:
                yield None

    with model_of(server, budget={"max_calls": 3}) as model:
        for tag, _ in model.ask(source()):
            answered.append(tag)
    assert answered == list(range(6))
    assert len(server.bodies) == 3


def test_identity_changes_with_address_name_and_way_of_constraining_only(server):
    same = {
        model_of(server, **how).identity
        for how in ({}, {"concurrency": 9}, {"timeout_s": 3}, {"price_in": 1, "price_out": 2})
    }
    others = {model_of(server, **what).identity for what in ({"model": "b"}, {"structured": "response_format"})}
    assert len(same) == 1
    assert len(same | others) == 3
