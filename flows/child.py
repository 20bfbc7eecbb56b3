"""Engines and training run in a child process, in a group of its own that ends before the next stage starts.

Only then is their memory really free. The parent ends the group on every way out; a parent that is killed outright
can't, so the kernel ends the child with it (`flows.worker`), and whoever takes the lock over ends what is left
(`flows.locks`).
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any  # JSON values

from flows import locks
from flows.gpu import gpu_slots, visible_gpus, wants_gpu
from flows.masking import mask
from flows.tables import clear_errors

EVENTS_FD = "PREFLOOP_EVENTS_FD"
EVENTS_PATH = "PREFLOOP_EVENTS_PATH"  # the same, for processes that inherit no files
PARENT_PID = "PREFLOOP_PARENT_PID"
_TAIL_CHARS = 2000
_LOOK_S = 0.5
_EXIT_S = 60.0  # for a child that has said its result; what still runs then is ended


class StageError(RuntimeError):
    """A stage could not do its work; the message says why and what to do."""


class BudgetError(StageError):
    """A judge has spent what the recipe allows; the same command goes on with as much again."""


class HealableError(StageError):
    """The same stage may do its work a little later: a server was away, or had enough to do."""


def run_child(
    job: dict[str, Any],
    *,
    environment: dict[str, str],
    log: Path,
    lock: locks.Lock,
    on_event: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Run one job of `flows.worker` in a child process and wait for its end.

    Args:
        job: What to do, JSON values only.
        environment: Variables added to ours, set before the child imports anything.
        log: File that takes the child's standard output and error.
        lock: The held lock of the dataset, in which the child's process group is recorded.
        on_event: Called with each progress event.

    Returns:
        The job's result.

    Raises:
        HealableError: A server or the Hub did not answer; the same job may work later.
        StageError: The job failed or its process died; the message ends with where its log lies.
    """
    with clear_errors(log.parent):
        log.parent.mkdir(parents=True, exist_ok=True)
    log_start = log.stat().st_size if log.exists() else 0  # of earlier tries
    read_fd, write_fd = os.pipe()
    with gpu_slots(visible_gpus() if wants_gpu(job) else []) as slots, os.fdopen(read_fd, "rb", buffering=0) as events:
        try:
            process = _start(job, environment, log, [write_fd, *(slot.fd for slot in slots)])
        finally:
            os.close(write_fd)
        try:
            for one in (lock, *slots):
                one.record_child(process.pid)
            outcome = _follow(events, process, on_event)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_EXIT_S)
        finally:
            locks.end_group(process.pid)
            process.wait()
            for one in (lock, *slots):
                one.forget_child()
    if outcome is None:
        why = f"{job['job']}: {_death(process.returncode)}\n{_tail(log, log_start)}\nThe whole log: {log}"
        raise StageError(mask(why, job))
    if "error" in outcome:
        why = outcome["error"] + (f"\nThe whole log: {log}" if outcome["unexpected"] else "")
        raise (HealableError if outcome["can_heal"] else StageError)(mask(why, job))
    return outcome["result"]


def _start(job: dict[str, Any], environment: dict[str, str], log: Path, fds: list[int]) -> subprocess.Popen[bytes]:
    """Start the child; the first of `fds` takes its events, the others are locks that it holds with us."""
    own = {EVENTS_FD: str(fds[0]), PARENT_PID: str(os.getpid()), locks.CHILD_MARK: "1"}
    module = "flows.worker" if n_processes(job) == 1 else "flows.processes"
    with clear_errors(log.parent), log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module, json.dumps(job)],  # -P: the user's folder may hold training.py
            env=os.environ | environment | own,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=fds,
            start_new_session=True,
        )


def n_processes(job: dict[str, Any]) -> int:
    """Count the processes that a job is done by; `flows.processes` starts them where it is more than one."""
    distributed = job["config"].get("distributed") if job["job"] == "train" else None
    return distributed["processes"] if distributed else 1


def _follow(
    events: FileIO, process: subprocess.Popen[bytes], on_event: Callable[[dict[str, Any]], None]
) -> dict[str, Any] | None:
    """Hand on progress until the child says its result or error; None where it ended without either.

    The end of the pipe is no sign: a process that a verifier has forked holds it open, and may outlive the child.
    """
    rest = b""
    while True:
        ended = process.poll() is not None  # asked first: what it said at the very end is in the pipe by now
        if select.select([events], [], [], _LOOK_S)[0]:
            block = events.read(1 << 16)
            if not block:
                return None
            *lines, rest = (rest + block).split(b"\n")
            for event in map(json.loads, lines):
                if "result" in event or "error" in event:
                    return event
                on_event(event)
        elif ended:
            return None


def _death(code: int) -> str:
    if code >= 0:
        return f"the child process ended with exit code {code} and no word"
    name = signal.Signals(-code).name
    hint = " (the machine may have run out of memory)" if name == "SIGKILL" else ""
    return f"the child process was ended by {name}{hint}"


def _tail(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - _TAIL_CHARS))
        return file.read().decode(errors="replace").strip()
