import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows import locks
from flows.child import StageError, run_child

HOLD_AND_SPAWN = """
import subprocess, sys, time
from pathlib import Path
from flows import locks
with locks.hold(Path(sys.argv[1])) as lock:
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    lock.record_child(child.pid)
    print(child.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """A process that holds a lock and has a child in a group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_AND_SPAWN, str(tmp_path / "x.lock")], stdout=subprocess.PIPE, text=True
    )
    child = int(process.stdout.readline())
    yield process, child
    process.kill()
    process.wait()
    process.stdout.close()
    locks.end_group(child)


def test_a_takeover_ends_the_child_that_a_killed_holder_left(tmp_path: Path, holder):
    process, child = holder
    left = locks.ProcessId.of(child)
    process.kill()
    process.wait()
    assert left.is_alive()
    with locks.hold(tmp_path / "x.lock"):
        assert not left.is_alive()


@pytest.mark.parametrize(("marks", "left"), [({locks.CHILD_MARK: "1"}, False), ({}, True)])
def test_a_takeover_ends_what_a_dead_leader_left_and_no_group_of_others(tmp_path: Path, marks: dict, left: bool):
    leader = subprocess.Popen(
        [sys.executable, "-c", "import subprocess; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True)\n"
         "p.wait()"],
        stdout=subprocess.PIPE, text=True, start_new_session=True, env=os.environ | marks,
    )  # fmt: skip
    grandchild = locks.ProcessId.of(int(leader.stdout.readline()))
    with locks.hold(tmp_path / "x.lock") as lock:
        lock.record_child(leader.pid)
        record = (tmp_path / "x.lock").read_text()
    leader.kill()
    leader.wait()
    leader.stdout.close()
    assert grandchild.is_alive()
    (tmp_path / "x.lock").write_text(record)  # as a holder leaves it that is killed
    try:
        with locks.hold(tmp_path / "x.lock"):
            assert grandchild.is_alive() == left
    finally:
        locks.end_group(leader.pid)


def test_a_live_holder_is_waited_for(tmp_path: Path, holder):
    process, child = holder
    waiter = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pathlib import Path; from flows import locks\n"
         "with locks.hold(Path(sys.argv[1])): print('mine')", str(tmp_path / "x.lock")],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(1.5)
    assert waiter.poll() is None
    assert locks.ProcessId.of(child).is_alive()
    process.kill()
    output, _ = waiter.communicate(timeout=20)
    assert output == "mine\n"


def test_a_pid_used_again_is_another_process():
    own = locks.ProcessId.of(os.getpid())
    assert own.is_alive()
    assert not locks.ProcessId(own.pid, own.started - 100, own.boot).is_alive()


def test_a_lock_file_cut_short_can_be_taken(tmp_path: Path):
    (tmp_path / "x.lock").write_text('{"holder": {"pi')
    with locks.hold(tmp_path / "x.lock"):
        pass
    assert (tmp_path / "x.lock").read_text() == ""


def test_a_child_that_dies_without_a_word_is_reported_with_its_log(tmp_path: Path):
    with locks.hold(tmp_path / "x.lock") as lock, pytest.raises(StageError, match="KeyError: 'no_such_job'"):
        run_child({"job": "no_such_job"}, environment={}, log=tmp_path / "x.log", lock=lock, on_event=print)
    assert json.loads((tmp_path / "x.lock").read_text() or "null") is None


def test_a_killed_parent_takes_its_child_along(tmp_path: Path):
    script = (
        "import os, sys; from flows.worker import die_with_parent; die_with_parent(os.getppid())\n"
        "print(os.getpid(), flush=True); import time; time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])", script],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    child = locks.ProcessId.of(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while child.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.is_alive()


def test_a_lock_file_that_is_removed_while_somebody_waits_is_made_anew(tmp_path: Path):
    path = tmp_path / "x.lock"
    with locks.hold(path):
        waiter = subprocess.Popen(
            [sys.executable, "-c", "import os, sys; from pathlib import Path; from flows import locks\n"
             "path = Path(sys.argv[1])\n"
             "with locks.hold(path): print(path.exists())", str(path)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not any(file.path == str(path) for file in psutil.Process(waiter.pid).open_files()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        path.unlink()
    output, _ = waiter.communicate(timeout=60)
    assert output == "True\n"
