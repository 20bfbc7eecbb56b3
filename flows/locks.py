"""Who writes a dataset: one process at a time, the others wait, a dead one's leftovers are ended first.

The lock is an flock, which the kernel frees when its holder dies. A killed holder can leave a child process behind that
still writes; the lock file therefore names the child's process group, and whoever takes over ends it first. A process
is recognised by pid and start time, since pids are used again; on Linux the start is counted from the boot, so that a
clock that is set makes no live process look like another one.
"""

import fcntl
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any  # JSON values

import psutil

from flows.tables import clear_errors

_log = logging.getLogger(__name__)
_POLL_S = 0.2
_TERM_S = 5.0
CHILD_MARK = "PREFLOOP_CHILD"  # in the environment of a child and of all that it starts


@dataclass(frozen=True)
class ProcessId:
    """A process that can be told from a later one with the same pid.

    Attributes:
        pid: Its number.
        started: Linux: clock ticks from the boot to its start. Elsewhere: seconds since the epoch.
        boot: Linux: which boot and which space of pids (containers have their own) the numbers are of. Elsewhere empty.
    """

    pid: int
    started: float
    boot: str = ""

    @classmethod
    def of(cls, pid: int) -> "ProcessId":
        """Read the identity of a running process."""
        return cls(pid, _start(pid), _boot())

    @classmethod
    def from_json(cls, fields: Any) -> "ProcessId | None":
        """Read a recorded identity; None where there is none, or what stands there is none."""
        try:
            return cls(int(fields["pid"]), float(fields["started"]), str(fields["boot"]))
        except (TypeError, KeyError, ValueError):
            return None

    def is_alive(self) -> bool:
        """Tell whether this very process still runs (a zombie does not)."""
        if self.boot != _boot():
            return False
        try:
            return abs(_start(self.pid) - self.started) < 0.05 and _runs(self.pid)
        except psutil.NoSuchProcess:
            return False


def _start(pid: int) -> float:
    """Read when a process started; psutil's own figure moves with the clock."""
    if sys.platform != "linux":
        return psutil.Process(pid).create_time()
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise psutil.NoSuchProcess(pid) from error
    return float(stat.rpartition(")")[2].split()[19])  # field 22, starttime; the name in brackets may hold spaces


@cache
def _boot() -> str:
    if sys.platform != "linux":
        return ""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


class Lock:
    """A held lock file; the holder records its child's process group in it."""

    def __init__(self, file: FileIO) -> None:
        self._file = file  # without a buffer: on a full disk one would be tried again when the file is closed
        self._write(child=None)

    def record_child(self, pid: int) -> None:
        """Name the process group leader that writes on behalf of the holder."""
        self._write(child=ProcessId.of(pid))

    def forget_child(self) -> None:
        """Say that no child writes any more."""
        self._write(child=None)

    def _write(self, child: ProcessId | None) -> None:
        holder = ProcessId.of(os.getpid())
        record = {"holder": vars(holder), "child": vars(child) if child else None}
        self._file.truncate(0)
        self._file.write(json.dumps(record).encode())
        os.fsync(self._file.fileno())


@contextmanager
def hold(path: Path) -> Iterator[Lock]:
    """Hold the lock file at `path`, after waiting for a live holder and ending what a dead one left behind.

    Raises:
        OSError: The folder can't be written; the message says why and what to do.
    """
    with acquired(path, lambda file: _acquire(file, path)) as file:
        end_leftovers(path)
        with clear_errors(path.parent):
            lock = Lock(file)
        try:
            yield lock
        finally:
            file.truncate(0)
            fcntl.flock(file, fcntl.LOCK_UN)


def acquired(path: Path, wait: Callable[[FileIO], None]) -> FileIO:
    """Open and lock a file; one that was removed while we waited is no lock any more, so it is opened anew.

    Args:
        path: The lock file.
        wait: Takes the lock of an open file, however long that lasts.

    Raises:
        OSError: The folder can't be written; the message says why and what to do.
    """
    while True:
        with ExitStack() as closing:
            with clear_errors(path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
                file = closing.enter_context(path.open("ab", buffering=0))
            wait(file)
            if os.fstat(file.fileno()).st_nlink:
                closing.pop_all()  # the caller closes it
                return file


def _acquire(file: FileIO, path: Path) -> None:
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
    """End the process group that a dead holder recorded in its lock file; for who holds the lock now."""
    _end_child(_read(path))


def end_orphans(path: Path) -> None:
    """End the same while the lock can't be had, since the group itself has it open."""
    record = _read(path)
    holder = ProcessId.from_json(record.get("holder"))
    if holder and not holder.is_alive():
        _end_child(record)


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes() or b"{}")
    except (ValueError, RecursionError):  # the holder died while it wrote; its child died with it, by the kernel's hand
        return {}
    return record if isinstance(record, dict) else {}


def _end_child(record: dict[str, Any]) -> None:
    child = ProcessId.from_json(record.get("child"))
    if child and _is_left(child):
        _log.warning("ending process group %d, left behind by a killed run", child.pid)
        end_group(child.pid)


def _is_left(leader: ProcessId) -> bool:
    """Tell whether the group of a recorded leader still has members.

    The kernel ends a leader with its parent, not the leader's own children. As long as those live, no new process gets
    the leader's pid; a pid in use by another process is another group, and so is one whose members do not come from us.
    """
    if leader.boot != _boot():
        return False  # of before a restart, or of another container
    return leader.is_alive() or (not _runs(leader.pid) and _group_is_ours(leader.pid))


def _group_is_ours(pgid: int) -> bool:
    """Tell whether a group without its leader holds a process that one of our children has started."""
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.Error):
            if os.getpgid(process.pid) == pgid and CHILD_MARK in process.environ():
                return True
    return False


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
