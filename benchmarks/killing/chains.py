"""A chain: one workspace whose run is killed again and again, started again at once, and checked at its end."""

import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.killing.moments import Profile, read_parts
from benchmarks.killing.sameness import Sameness, compare_workspaces
from benchmarks.killing.victims import Kind, Moment, Victim, Wait, kill, reap, start, wait_for, watch_children

RUN_S = 900.0
Identity = tuple[int, int]  # inode and time of the last change: another file has another


@dataclass
class Kill:
    """One kill and what it cost."""

    stage: str
    kind: Kind
    dataset: str
    after: str
    worked_s: float  # on the dataset, before the kill
    restart_s: float  # until the rerun was at the dataset again
    left_running: list[str]  # of the killed run's own group, seen when the rerun was at the dataset
    left_writing: list[str]  # of its child's group, likewise: nobody but the rerun may write then
    repeated_s: float = 0.0  # work on the dataset, beyond that of the undisturbed run
    shards_kept: int = 0
    shards_repeated: int = 0
    rows_repeated: int = 0
    resumed_step: int = 0  # from which the last try of a killed training went on; 0 = from the start


@dataclass
class Ended:
    """What a chain comes to."""

    kills: list[Kill]
    sameness: Sameness
    problems: list[str] = field(default_factory=list)  # what should not have happened, beside differing rows
    temporary_files: int = 0  # left in the workspace by writers that were killed


@dataclass(frozen=True)
class Undisturbed:
    """A run that was left alone: what the others are held against."""

    arguments: list[str]
    workspace: Path
    environment: dict[str, str]
    profile: Profile


def run_undisturbed(arguments: list[str], workspace: Path, environment: dict[str, str]) -> Undisturbed:
    """Run to the end, and once more to learn how long a run takes that finds everything built."""
    first = start(arguments, workspace, environment, workspace.with_name(f"{workspace.name}-built.log"))
    cpu_s = watch_children(first, workspace, RUN_S)
    _finish(first)
    ended, seconds, parts = time.time(), first.seconds, read_parts(workspace, cpu_s)
    second = start(arguments, workspace, environment, workspace.with_name(f"{workspace.name}-cached.log"))
    _finish(second)
    profile = Profile(parts, seconds, ended - parts[-1].finished, second.seconds)
    return Undisturbed(arguments, workspace, environment, profile)


def _finish(victim: Victim) -> None:
    """Wait for a run's end.

    Raises:
        RuntimeError: It failed; a gate that keeps the old policy (exit code 3) is no failure.
    """
    try:
        code = victim.process.wait(RUN_S)
    except subprocess.TimeoutExpired:
        victim.process.kill()
        raise
    if code not in (0, 3):
        raise RuntimeError(f"exit code {code}; {victim.log} ends with:\n{victim.log.read_text()[-2000:]}")


def run_chain(model: Undisturbed, workspace: Path, moments: list[Moment]) -> Ended:
    """Kill a run at each moment, start it again at once, let it end, and compare it with the undisturbed run."""
    kills: list[Kill] = []
    seen: list[dict[Path, Identity]] = []  # what was whole at each kill
    victims = [_start(model, workspace, 0)]
    for moment in moments:
        wait = wait_for(victims[-1], moment)
        if wait is not None and kill(victims[-1], moment):
            seen.append(whole_files(workspace))
            victims.append(_start(model, workspace, len(victims)))
            kills.append(_note(workspace, moment, wait, victims[-2], victims[-1]))
        elif victims[-1].process.poll() is not None:
            victims.append(_start(model, workspace, len(victims)))
    _finish(victims[-1])
    ended = Ended(kills, compare_workspaces(workspace, model.workspace))
    _count_shards(workspace, ended, seen)
    finished = {str(part.folder): part.seconds for part in read_parts(workspace)}
    alone = {str(part.folder): part.seconds for part in model.profile.parts}
    for one in kills:
        one.resumed_step = _resumed_step(workspace / one.dataset)
        one.repeated_s = max(0.0, one.worked_s + finished[one.dataset] - alone[one.dataset]) if one.worked_s else 0.0
    ended.temporary_files = sum(path.is_file() and path.name.startswith(".") for path in workspace.rglob("*"))
    return ended


def _resumed_step(dataset: Path) -> int:
    return json.loads((dataset / "manifest.json").read_text())["facts"].get("resumed_step", 0)


def _start(model: Undisturbed, workspace: Path, number: int) -> Victim:
    return start(model.arguments, workspace, model.environment, workspace.with_name(f"{workspace.name}-{number}.log"))


def _note(workspace: Path, moment: Moment, wait: Wait, killed: Victim, rerun: Victim) -> Kill:
    """Watch the rerun come back to where the killed one was; only then end what that one left."""
    back = wait_for(rerun, Moment(moment.stage, moment.dataset, "parent", "lock", 0.0))
    return Kill(
        stage=moment.stage,
        kind=moment.kind,
        dataset=str(moment.dataset.relative_to(workspace)),
        after=moment.after,
        worked_s=wait.worked_s if moment.after in ("lock", "shards") else 0.0,
        restart_s=back.reached_s if back else 0.0,
        left_running=reap(killed.group),
        left_writing=reap(killed.child) if killed.child else [],
    )


def whole_files(workspace: Path) -> dict[Path, Identity]:
    """List the files that say that something is done: main tables and manifests."""
    found: dict[Path, Identity] = {}
    for name in ("part-*.parquet", "manifest.json"):
        for path in workspace.rglob(name):
            stat = path.stat()
            found[path.relative_to(workspace)] = (stat.st_ino, stat.st_mtime_ns)
    return found


def _count_shards(workspace: Path, ended: Ended, seen: list[dict[Path, Identity]]) -> None:
    """Count which whole shards of the hit dataset stayed; all other whole files must be the same ones."""
    last = whole_files(workspace)
    for one, files in zip(ended.kills, seen, strict=True):
        ended.problems += [f"{one.dataset}: still at work after a kill: {line}" for line in one.left_writing]
        for path, identity in files.items():
            stayed = last.get(path) == identity
            if path.suffix == ".parquet" and str(path.parent) == one.dataset:
                one.shards_kept += stayed
                one.shards_repeated += not stayed
                one.rows_repeated += 0 if stayed else pq.read_metadata(workspace / path).num_rows
            elif not stayed:
                ended.problems.append(f"{path}: whole before the kill in {one.stage}, yet written again")
