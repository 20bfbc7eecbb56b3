import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judging.asking.chat import Choice, Question, Reply
from judging.asking.reply_store import ReplyStore, hash_question

QUESTION = Question([{"role": "user", "content": "Rate it."}], 1, 0.0, 7)
REPLY = Reply([Choice("4", "stop", [{"4": -0.1, "5": -2.5}])], None, "", 600, 1, 0.25)

texts = st.text(st.characters(), max_size=30)  # NUL and half surrogate pairs among them
floats = st.floats(allow_nan=False)
choices = st.builds(
    Choice,
    texts,
    st.sampled_from(["stop", "length", None]),
    st.none() | st.lists(st.dictionaries(texts, floats), max_size=3),
)
counts = st.none() | st.integers(0, 10**9)
replies = st.builds(
    Reply, st.lists(choices, max_size=3), st.none(), st.just(""), counts, counts, st.none() | st.floats(0, 1e9)
)
questions = st.builds(
    Question,
    st.lists(st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": texts}), max_size=3),
    st.integers(1, 99),
    st.floats(0, 2),
    st.integers(0, 2**31),
    st.integers(1, 20),
    st.integers(0, 20),
    st.none() | st.lists(texts, max_size=3).map(tuple),
    st.none() | texts,
)


def numbered(i: int) -> Question:
    return Question([{"role": "user", "content": f"Rate number {i}."}], 1, 0.0, 7)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(questions, replies), max_size=5))
def test_what_is_stored_comes_back_after_the_store_was_closed(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("replies")
    expected = {hash_question(question): reply for question, reply in pairs}
    with ReplyStore(folder, "judge") as store:
        for question, reply in pairs:
            store.put(question, reply)
    with ReplyStore(folder, "judge") as store:
        for question, _ in pairs:
            assert store.get(question) == expected[hash_question(question)]


def test_unknown_question_has_no_reply(tmp_path):
    with ReplyStore(tmp_path, "judge") as store:
        assert store.get(QUESTION) is None


def test_forgotten_reply_is_gone_and_others_stay(tmp_path):
    with ReplyStore(tmp_path, "judge") as store:
        store.put(QUESTION, REPLY)
        store.put(numbered(1), REPLY)
        store.forget(QUESTION)
        store.forget(numbered(2))
    with ReplyStore(tmp_path, "judge") as store:
        assert (store.get(QUESTION), store.get(numbered(1))) == (None, REPLY)
        store.put(QUESTION, REPLY)
    with ReplyStore(tmp_path, "judge") as store:
        assert store.get(QUESTION) == REPLY


def test_nothing_is_forgotten_in_a_run_whose_budget_is_spent(tmp_path):
    with ReplyStore(tmp_path, "judge") as store:
        store.put(QUESTION, REPLY)
        store.put(numbered(1), REPLY)
        store.forget(QUESTION)
        store.keep_unread()
        store.forget(numbered(1))
    with store:
        assert (store.get(QUESTION), store.get(numbered(1))) == (REPLY, REPLY)
        store.forget(QUESTION)
    with store:
        assert store.get(QUESTION) is None


def test_later_reply_replaces_the_earlier_one(tmp_path):
    with ReplyStore(tmp_path, "judge") as store:
        store.put(QUESTION, REPLY)
        store.put(QUESTION, Reply([Choice("5", "stop")]))
        assert store.get(QUESTION) == Reply([Choice("5", "stop")])


def test_reply_with_a_reason_is_refused(tmp_path):
    with ReplyStore(tmp_path, "judge") as store, pytest.raises(ValueError, match="timeout"):
        store.put(QUESTION, Reply([], "timeout"))


def test_replies_of_another_model_are_not_seen(tmp_path):
    with ReplyStore(tmp_path, "judge") as store:
        store.put(QUESTION, REPLY)
    with ReplyStore(tmp_path, "other judge") as store:
        assert store.get(QUESTION) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": [{"role": "system", "content": "Rate it."}]},
        {"messages": [{"role": "user", "content": "Rate it. "}]},
        {"messages": [{"role": "user", "content": "Rate it.\ud800"}]},
        {"max_new_tokens": 2},
        {"temperature": 0.1},
        {"seed": 8},
        {"n": 2},
        {"top_logprobs": 1},
        {"choice": ("4", "5")},
        {"choice": ()},
        {"json_schema": "{}"},
    ],
)
def test_everything_in_a_question_is_part_of_the_key(changes):
    from dataclasses import replace

    assert hash_question(replace(QUESTION, **changes)) != hash_question(QUESTION)


def test_key_stays_the_same_from_process_to_process():
    assert hash_question(QUESTION).hex() == "1724765f1423024989dbba962119ab2a"


def test_order_of_a_messages_fields_is_no_part_of_the_key():
    turned = Question([{"content": "Rate it.", "role": "user"}], 1, 0.0, 7)
    assert hash_question(turned) == hash_question(QUESTION)


def test_infinite_log_probs_come_back(tmp_path):
    reply = Reply([Choice("A", "stop", [{"A": 0.0, "B": -math.inf}])])
    with ReplyStore(tmp_path, "judge") as store:
        store.put(QUESTION, reply)
        assert store.get(QUESTION) == reply


def test_use_outside_with_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="inside `with store:`"):
        ReplyStore(tmp_path, "judge").get(QUESTION)


WRITER = """
import sys
from pathlib import Path
from judging.asking.chat import Choice, Question, Reply
from judging.asking.reply_store import ReplyStore

first, last = int(sys.argv[2]), int(sys.argv[3])
with ReplyStore(Path(sys.argv[1]), "judge") as store:
    for i in range(first, last):
        question = Question([{"role": "user", "content": f"Rate number {i}."}], 1, 0.0, 7)
        store.put(question, Reply([Choice(str(i), "stop")]))
        print(i, flush=True)
"""


def writer(folder: Path, first: int, last: int) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, str(folder), str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_killed_process_loses_no_stored_reply(tmp_path):
    with writer(tmp_path, 0, 1_000_000) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(500)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout if line.endswith("\n")]
    with ReplyStore(tmp_path, "judge") as store:
        for i in said:
            assert store.get(numbered(i)) == Reply([Choice(str(i), "stop")])


def test_four_processes_make_and_fill_one_file_at_once(tmp_path):
    processes = [writer(tmp_path, 200 * i, 200 * i + 200) for i in range(4)]
    assert [process.communicate()[0].count("\n") for process in processes] == [200] * 4
    assert [process.returncode for process in processes] == [0] * 4
    assert len(list(tmp_path.glob("*.sqlite"))) == 1
    with ReplyStore(tmp_path, "judge") as store:
        assert all(store.get(numbered(i)) == Reply([Choice(str(i), "stop")]) for i in range(800))


def reply_to(i: int) -> Reply:
    return Reply([Choice(f"{i} of 5, for it is brief.", "stop", [{"4": -0.1, "5": -2.5}])], None, "", 600 + i, 1)


def filled(folder: Path) -> Path:
    with ReplyStore(folder, "judge") as store:
        for i in range(200):
            store.put(numbered(i), reply_to(i))
        return store.path


def read_all(folder: Path) -> list[Reply | None]:
    with ReplyStore(folder, "judge") as store:
        return [store.get(numbered(i)) for i in range(200)]


def test_file_that_is_no_database_is_named_with_what_to_do(tmp_path):
    path = filled(tmp_path)
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(ValueError, match=r"is damaged .*remove it") as error:
        read_all(tmp_path)
    assert str(path) in str(error.value)


def test_file_cut_short_is_named_with_what_to_do(tmp_path):
    path = filled(tmp_path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"is damaged .*remove it"):
        read_all(tmp_path)


def test_no_flipped_byte_ever_changes_a_reply(tmp_path):
    path = filled(tmp_path / "whole")
    content = path.read_bytes()
    damaged = 0
    for place in range(0, len(content), 101):
        copy = tmp_path / "copy" / path.name
        shutil.rmtree(copy.parent, ignore_errors=True)
        copy.parent.mkdir()
        copy.write_bytes(content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1 :])
        try:
            found = read_all(copy.parent)
        except ValueError:
            damaged += 1
        else:
            assert all(reply in (reply_to(i), None) for i, reply in enumerate(found))
    assert damaged > 100


def test_other_programs_file_is_named_with_what_to_do(tmp_path):
    path = filled(tmp_path)
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE replies (something TEXT)")
    other.close()
    with pytest.raises(ValueError, match="is damaged"):
        read_all(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_leave_to_write_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="let this user write"):
        read_all(tmp_path)


def test_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        read_all(tmp_path / "file")


def fill(store: ReplyStore) -> None:
    for i in range(1000):
        store.put(numbered(i), Reply([Choice("x" * 500, "stop")]))


def test_full_disk_is_an_error_that_names_the_file(tmp_path):
    """SQLite's own limit of pages gives the same error as a full disk."""
    with ReplyStore(tmp_path, "judge") as store:
        store._connection.execute("PRAGMA max_page_count = 20")
        with pytest.raises(OSError, match="make room on the disk") as error:
            fill(store)
        assert str(store.path) in str(error.value)
        assert store.get(numbered(0)) is not None  # what is stored stays readable


def test_damage_leaves_no_open_file(tmp_path):
    filled(tmp_path).write_bytes(b"x" * 8192)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ValueError, match="damaged"):
        ReplyStore(tmp_path, "judge").__enter__()
    assert len(os.listdir("/proc/self/fd")) == before
