import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.chat_client import ChatClient
from judging.asking.chat import Choice, Question, Reply
from judging.asking.dialogue import NoReplies, hold_dialogues
from judging.asking.reply_store import ReplyStore, hash_question
from judging.asking.server_model import ServerModel
from judging.engine_config import ServerConfig
from tests.fake_openai import FakeServer, chat_body, status


def question(text: str) -> Question:
    return Question([{"role": "user", "content": text}], 1, 0.0, 0)


def text_of(question: Question) -> str:
    return question.messages[-1]["content"]


class Echo:
    """A model that answers a question with its text, some at a time and in random order.

    Attributes:
        asked: Texts of the questions so far.
        fails: Texts of questions that get the reason timeout.
    """

    identity = "echo"

    def __init__(self, in_flight: int = 4, seed: int = 0, fails: frozenset[str] = frozenset()) -> None:
        self.in_flight = in_flight
        self.asked: list[str] = []
        self.fails = fails
        self.peak = 0
        self._random = random.Random(seed)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def ask(self, tagged):
        source, more, held = iter(tagged), True, []
        while True:
            while more and len(held) < self.in_flight:
                one = next(source, "end")
                if one == "end":
                    more = False
                elif one is None:
                    assert held, "None while nothing is in hand"
                    break
                else:
                    held.append(one)
                    self.asked.append(text_of(one[1]))
            self.peak = max(self.peak, len(held))
            if not held:
                return
            tag, asked = held.pop(self._random.randrange(len(held)))
            if text_of(asked) in self.fails:
                yield tag, Reply([], "timeout")
            else:
                yield tag, Reply([Choice(text_of(asked), "stop")])


class Memory:
    """Replies in a dict."""

    def __init__(self) -> None:
        self.by_key: dict[bytes, Reply] = {}

    def get(self, question):
        return self.by_key.get(hash_question(question))

    def put(self, question, reply):
        self.by_key[hash_question(question)] = reply

    def forget(self, question):
        self.by_key.pop(hash_question(question), None)

    def keep_unread(self):
        return None


def rounds_of(name: str, sizes: list[int]):
    """Ask rounds of questions, each of which quotes a reply of the round before, and return all replies' texts."""
    said, before = [], ""
    for number, size in enumerate(sizes):
        replies = yield [question(f"{name} round {number} place {place} after <{before}>") for place in range(size)]
        assert len(replies) == size
        said.append([reply.choices[0].text if reply.choices else reply.reason for reply in replies])
        before = said[-1][-1] if said[-1] else ""
    return said


def expected(name: str, sizes: list[int]) -> list[list[str]]:
    said, before = [], ""
    for number, size in enumerate(sizes):
        said.append([f"{name} round {number} place {place} after <{before}>" for place in range(size)])
        before = said[-1][-1] if said[-1] else ""
    return said


def hold(model, replies, plans: list[list[int]]) -> list:
    dialogues = ((i, rounds_of(str(i), sizes)) for i, sizes in enumerate(plans))
    return list(hold_dialogues(model, replies, dialogues))


plans = st.lists(st.lists(st.integers(0, 4), max_size=4), max_size=30)


@settings(deadline=None)
@given(plans, st.integers(1, 8), st.integers(0, 99), st.sets(st.integers(0, 400)))
def test_each_dialogue_gets_its_own_replies_in_order_whatever_is_stored(plans, in_flight, seed, stored):
    whole = [text for i, sizes in enumerate(plans) for said in expected(str(i), sizes) for text in said]
    replies = Memory()
    for number, text in enumerate(whole):
        if number in stored:
            replies.put(question(text), Reply([Choice(text, "stop")]))
    kept = {text for number, text in enumerate(whole) if number in stored}
    model = Echo(in_flight, seed)
    results = hold(model, replies, plans)
    assert sorted(results) == [(i, expected(str(i), sizes)) for i, sizes in enumerate(plans)]
    assert sorted(model.asked) == sorted(text for text in whole if text not in kept)
    assert len(replies.by_key) == len(set(whole))


@settings(deadline=None)
@given(plans, st.integers(1, 8), st.data())
def test_second_run_asks_only_what_went_without_a_reply(plans, in_flight, data):
    whole = sorted({text for i, sizes in enumerate(plans) for said in expected(str(i), sizes) for text in said})
    fails = data.draw(st.sets(st.sampled_from(whole))) if whole else set()
    replies = Memory()
    first = Echo(in_flight, fails=frozenset(fails))
    results = hold(first, replies, plans)
    assert sorted(i for i, _ in results) == list(range(len(plans)))
    second = Echo(in_flight)
    assert sorted(hold(second, replies, plans)) == [(i, expected(str(i), sizes)) for i, sizes in enumerate(plans)]
    assert not (set(first.asked) - fails) & set(second.asked)


def test_reply_that_its_dialogue_forgets_is_asked_for_again():
    replies = Memory()

    def picky(name):
        questions = [question(f"{name} {place}") for place in range(2)]
        yield questions
        replies.forget(questions[1])

    for _ in range(2):
        model = Echo()
        list(hold_dialogues(model, replies, [(0, picky("a"))]))
    assert model.asked == ["a 1"]


def test_failed_question_keeps_the_other_replies_of_its_dialogue():
    replies, missing = Memory(), "0 round 0 place 1 after <>"
    [(_, said)] = hold(Echo(fails=frozenset({missing})), replies, [[3]])
    assert said[0][1] == "timeout"
    model = Echo()
    hold(model, replies, [[3]])
    assert model.asked == [missing]


def test_model_is_kept_busy_while_dialogues_wait_for_replies():
    model = Echo(in_flight=8)
    hold(model, NoReplies(), [[1, 1, 1]] * 40)
    assert model.peak == 8


def test_stored_replies_among_missing_ones_do_not_slow_the_model():
    replies = Memory()
    hold(Echo(), replies, [[1]] * 2000)
    for i in range(0, 2000, 10):
        replies.forget(question(f"{i} round 0 place 0 after <>"))
    model = Echo(in_flight=8)
    assert len(hold(model, replies, [[1]] * 2000)) == 2000
    assert (model.peak, len(model.asked)) == (8, 200)


def test_dialogues_are_begun_only_as_the_model_needs_work():
    begun = handed_back = 0
    ahead = []

    def source():
        nonlocal begun
        for i in range(500):
            begun += 1
            ahead.append(begun - handed_back)
            yield i, rounds_of(str(i), [1])

    for _ in hold_dialogues(Echo(in_flight=4), NoReplies(), source()):
        handed_back += 1
    assert handed_back == 500
    assert max(ahead) <= 5


def test_stored_results_are_handed_on_one_by_one_without_the_model():
    replies = Memory()
    hold(Echo(), replies, [[1]] * 50)
    begun = 0

    def source():
        nonlocal begun
        for i in range(50):
            begun += 1
            yield i, rounds_of(str(i), [1])

    model = Echo()
    for handed_back, _ in enumerate(hold_dialogues(model, replies, source()), start=1):
        assert begun == handed_back
    assert model.asked == []


def test_reply_is_stored_before_more_is_asked():
    replies = Memory()

    class Watching(Echo):
        def ask(self, tagged):
            for number, answer in enumerate(super().ask(tagged)):
                assert len(replies.by_key) == number
                yield answer

    hold(Watching(in_flight=3), replies, [[2], [1], [3]])
    assert len(replies.by_key) == 6


def test_dialogue_that_asks_nothing_gives_its_result():
    assert sorted(hold(Echo(), NoReplies(), [[], [1], [], [0, 0]])) == [
        (0, []),
        (1, [["1 round 0 place 0 after <>"]]),
        (2, []),
        (3, [[], []]),
    ]


def test_no_dialogue_gives_no_result():
    assert hold(Echo(), NoReplies(), []) == []


def test_error_in_a_dialogue_reaches_the_caller():
    def broken():
        yield [question("a")]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(hold_dialogues(Echo(), NoReplies(), [(0, broken())]))


def test_model_that_leaves_questions_unanswered_is_an_error():
    class Silent(Echo):
        def ask(self, tagged):
            next(iter(tagged))
            return iter(())

    with pytest.raises(RuntimeError, match="left 1 questions without a reply"):
        hold(Silent(), NoReplies(), [[1]])


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        server.answer = lambda body: chat_body([body["messages"][0]["content"]])
        yield server


def model_of(server: FakeServer, **changes) -> ServerModel:
    config = ServerConfig(name="openai", base_url=server.base_url, model="judge", concurrency=4, **changes)
    return ServerModel(config, ChatClient(config.base_url, concurrency=4, timeout_s=5.0, max_retries=0))


def test_budget_stops_a_run_and_the_next_runs_finish_it_with_no_question_asked_twice(server, tmp_path):
    plans = [[2, 1]] * 10
    runs = 0
    while True:
        runs += 1
        with model_of(server, budget={"max_calls": 7}) as model, ReplyStore(tmp_path, model.identity) as store:
            results = dict(hold(model, store, plans))
        assert sorted(results) == list(range(10))
        if all(results[i] == expected(str(i), plans[i]) for i in range(10)):
            break
    asked = [body["messages"][0]["content"] for body in server.bodies]
    assert runs >= 5
    real = [text for text in asked if "budget" not in text]  # a round may go on from a reply that is missing
    assert len(set(real)) == len(real) == 30


def test_trouble_with_a_server_leaves_the_other_dialogues_whole(server, tmp_path):
    server.script = [status(500)] * 3
    with model_of(server) as model, ReplyStore(tmp_path, model.identity) as store:
        results = dict(hold(model, store, [[1]] * 40))
    assert [said[0][0] for said in results.values()].count("server_error") == 3
    server.bodies.clear()
    with model_of(server) as model, ReplyStore(tmp_path, model.identity) as store:
        results = dict(hold(model, store, [[1]] * 40))
    assert results == {i: expected(str(i), [1]) for i in range(40)}
    assert len(server.bodies) == 3


def test_run_with_every_reply_stored_needs_no_server(server, tmp_path):
    with model_of(server) as model, ReplyStore(tmp_path, model.identity) as store:
        hold(model, store, [[2, 1]] * 20)
    base_url, server.bodies = server.base_url, []
    with model_of(server) as model, ReplyStore(tmp_path, model.identity) as store:
        results = dict(hold(model, store, [[2, 1]] * 20))
    assert (base_url, len(results), server.bodies) == (server.base_url, 20, [])


JUDGE = """
import sys
from pathlib import Path
from generation.chat_client import ChatClient
from judging.asking.chat import Question
from judging.asking.dialogue import hold_dialogues
from judging.engine_config import ServerConfig
from judging.asking.reply_store import ReplyStore
from judging.asking.server_model import ServerModel

def judge(row):
    [reply] = yield [Question([{"role": "user", "content": f"row {row}"}], 1, 0.0, 0)]
    return reply.choices[0].text

config = ServerConfig(name="openai", base_url=sys.argv[1], model="judge", concurrency=8)
model = ServerModel(config, ChatClient.from_config(config))
with model, ReplyStore(Path(sys.argv[2]), model.identity) as store:
    for row, text in hold_dialogues(model, store, ((i, judge(i)) for i in range(200))):
        assert text == f"row {row}"
        print(row, flush=True)
"""


def test_killed_run_asks_again_at_most_what_was_in_flight(server, tmp_path):
    server.delay_s = 0.02
    command = [sys.executable, "-c", JUDGE, server.base_url, str(tmp_path)]
    for kill in range(1, 4):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            while len(server.bodies) < 50 * kill:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert sorted(map(int, said.split())) == list(range(200))
    asked = [body["messages"][0]["content"] for body in server.bodies]
    assert len(set(asked)) == 200
    assert len(asked) <= 200 + 3 * 8
