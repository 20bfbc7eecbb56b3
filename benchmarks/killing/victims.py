"""A run that is killed: start it, wait for a moment in it, kill it or its child, and see what it leaves running."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal  # Any: JSON values

import psutil

Kind = Literal["parent", "child", "both"]
_LOOK_S = 0.001  # filtering takes milliseconds
_END_S = 120.0


@dataclass(frozen=True)
class Moment:
    """When to kill what: after something has been seen, and a delay on top."""

    stage: str
    dataset: Path  # its folder
    kind: Kind
    after: Literal["start", "lock", "shards", "manifest"]
    delay_s: float
    shards: int = 0  # of the dataset, for "shards"
    cpu_s: float = 0.0  # of the dataset's child, for "lock": unlike seconds the same on a busy machine


@dataclass
class Victim:
    """A run as a user starts it, in a process group of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    started: float  # time.monotonic
    group: int
    child: int | None = None  # process group of the child that was at work when the run was killed

    @property
    def seconds(self) -> float:
        """Seconds since the run was started."""
        return time.monotonic() - self.started


def start(arguments: list[str], workspace: Path, environment: dict[str, str], log: Path) -> Victim:
    """Start `prefloop run`; what it prints goes to a file."""
    command = [str(Path(sys.executable).with_name("prefloop")), "run", *arguments, "--workspace", str(workspace)]
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    return Victim(process, log, started, process.pid)


def private_environment(folder: Path) -> dict[str, str]:
    """Variables that keep Prefect's files out of the user's home."""
    return {
        "PREFECT_HOME": str(folder),
        "PREFECT_LOCAL_STORAGE_PATH": str(folder / "storage"),
        "PREFECT_MEMO_STORE_PATH": str(folder / "memo.toml"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


@dataclass(frozen=True)
class Wait:
    """How long a moment took to come."""

    reached_s: float  # from the start of the run until the dataset's lock was taken
    worked_s: float  # from then until the moment


def wait_for(victim: Victim, moment: Moment) -> Wait | None:
    """Wait for a moment; None when the run, or the dataset, was done before."""
    reached = None
    while victim.process.poll() is None:
        if reached is None and _is_reached(victim, moment):
            reached = victim.seconds
        if reached is not None and _has_come(victim, moment):
            time.sleep(moment.delay_s)
            gone = moment.after not in ("manifest", "start") and (moment.dataset / "manifest.json").exists()
            return None if gone or victim.process.poll() is not None else Wait(reached, victim.seconds - reached)
        if moment.after != "manifest" and (moment.dataset / "manifest.json").exists():
            return None
        time.sleep(_LOOK_S)
    return None


def _is_reached(victim: Victim, moment: Moment) -> bool:
    if moment.after == "start":
        return True
    if moment.after == "manifest":
        return (moment.dataset / "manifest.json").exists()
    record = lock_record(moment.dataset)
    return record is not None and _group_of(record["holder"]["pid"]) == victim.group


def _has_come(victim: Victim, moment: Moment) -> bool:
    child = _child_of(victim, moment.dataset)
    if (moment.kind == "child" or moment.cpu_s) and (child is None or cpu_seconds(child) < moment.cpu_s):
        return False
    return moment.after != "shards" or len(list(moment.dataset.glob("part-*.parquet"))) >= moment.shards


def lock_record(dataset: Path) -> dict[str, Any] | None:
    """Read who holds a dataset's lock; None where nobody does, or the record is being written."""
    try:
        return json.loads(dataset.with_name(f"{dataset.name}.lock").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _child_of(victim: Victim, dataset: Path) -> int | None:
    record = lock_record(dataset)
    if record is None or _group_of(record["holder"]["pid"]) != victim.group or record["child"] is None:
        return None
    return record["child"]["pid"]


def cpu_seconds(pid: int) -> float:
    """Read the CPU time of a process; 0 when it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def watch_children(victim: Victim, workspace: Path, run_s: float) -> dict[Path, float]:
    """Wait for a run's end; give the CPU seconds of each dataset's child, as they were seen last."""
    seen: dict[Path, float] = {}
    while victim.process.poll() is None and victim.seconds < run_s:
        for lock in workspace.rglob("*.lock"):
            dataset = lock.with_suffix("")
            if child := _child_of(victim, dataset):
                seen[dataset] = max(seen.get(dataset, 0.0), cpu_seconds(child))
        time.sleep(0.05)
    return seen


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def kill(victim: Victim, moment: Moment) -> bool:
    """Kill what the moment says; False where the child that should die was gone.

    A parent whose child was killed ends by itself, with an error.
    """
    victim.child = child = _child_of(victim, moment.dataset)
    if moment.kind == "child":
        if child is None:
            return False
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        return _end_of(victim) != 0
    if moment.kind == "parent":
        victim.process.kill()
    else:
        for group in filter(None, (victim.group, child)):
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
    return _end_of(victim) == -signal.SIGKILL


def _end_of(victim: Victim) -> int:
    try:
        return victim.process.wait(_END_S)
    except subprocess.TimeoutExpired as error:
        reap(victim.group)
        raise RuntimeError(f"the run went on for {_END_S:.0f} s after it, or its child, was killed") from error


def left_in_group(group: int) -> list[psutil.Process]:
    """List the living processes of a group."""
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            if _group_of(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
    return left


def reap(group: int) -> list[str]:
    """End what a killed run has left in its group; give the command lines."""
    left = left_in_group(group)
    lines = []
    for process in left:
        with suppress(psutil.NoSuchProcess):
            lines.append(" ".join(process.cmdline())[:200])
            process.kill()
    psutil.wait_procs(left, timeout=10)
    return lines
