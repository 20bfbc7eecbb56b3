"""Who writes a dataset: one process at a time, the others wait, a dead one's leftovers are ended first.

The lock is an flock, which the kernel frees when its holder dies. A killed holder can leave a child process behind that
still writes; the lock file therefore names the child's process group, and whoever takes over ends it first. A process
is recognised by pid and start time, since pids are used again.
"""

import fcntl
import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import psutil

_log = logging.getLogger(__name__)
_POLL_S = 0.2
_TERM_S = 5.0


@dataclass(frozen=True)
class ProcessId:
    """A process that can be told from a later one with the same pid."""

    pid: int
    started: float  # seconds since the epoch, as the kernel reports it

    @classmethod
    def of(cls, pid: int) -> "ProcessId":
        """Read the start time of a running process."""
        return cls(pid, psutil.Process(pid).create_time())

    def is_alive(self) -> bool:
        """Tell whether this very process still runs (a zombie does not)."""
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < 0.05 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


class Lock:
    """A held lock file; the holder records its child's process group in it."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._write(child=None)

    def record_child(self, pid: int) -> None:
        """Name the process group leader that writes on behalf of the holder."""
        self._write(child=ProcessId.of(pid))

    def forget_child(self) -> None:
        """Say that no child writes any more."""
        self._write(child=None)

    def _write(self, child: ProcessId | None) -> None:
        holder = ProcessId.of(os.getpid())
        self._file.seek(0)
        self._file.truncate()
        json.dump({"holder": vars(holder), "child": vars(child) if child else None}, self._file)
        self._file.flush()
        os.fsync(self._file.fileno())


@contextmanager
def hold(path: Path) -> Iterator[Lock]:
    """Hold the lock file at `path`, after waiting for a live holder and ending what a dead one left behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        _acquire(file, path)
        end_leftovers(path)
        lock = Lock(file)
        try:
            yield lock
        finally:
            file.seek(0)
            file.truncate()
            fcntl.flock(file, fcntl.LOCK_UN)


def _acquire(file: TextIO, path: Path) -> None:
    waiting = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not waiting:
                _log.warning("another process works on %s; waiting for it", path.stem)
                waiting = True
            time.sleep(_POLL_S)


def end_leftovers(path: Path) -> None:
    """End the process group that a dead holder recorded in its lock file."""
    try:
        child = json.loads(path.read_text() or "{}").get("child")
    except json.JSONDecodeError:  # the holder died while it wrote; its child died with it, by the kernel's hand
        return
    if child and _is_left(ProcessId(**child)):
        _log.warning("ending process group %d, left behind by a killed run", child["pid"])
        end_group(child["pid"])


def _is_left(leader: ProcessId) -> bool:
    """Tell whether the group of a recorded leader still has members.

    The kernel ends a leader with its parent, not the leader's own children. As long as those live, no new process gets
    the leader's pid; a pid in use by another process is another group.
    """
    return leader.is_alive() or (not _runs(leader.pid) and _group_lives(leader.pid))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_group(pgid: int) -> None:
    """End every process of a group: TERM, five seconds, KILL."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(pgid, sign)
        deadline = time.monotonic() + _TERM_S
        while _group_lives(pgid) and time.monotonic() < deadline:
            time.sleep(0.02)
        if not _group_lives(pgid):
            return


def _group_lives(pgid: int) -> bool:
    for process in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == pgid and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
    return False
