"""Where a run can be hit: its datasets by stage, as an undisturbed run built them, and random moments among them."""

import json
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # JSON values

from benchmarks.killing.victims import Kind, Moment

STAGES = ("generation", "judging", "filtering", "training", "evaluation", "ends")
KINDS: tuple[Kind, ...] = ("parent", "child", "both")
ALONE: tuple[Kind, ...] = ("parent", "both")  # where nothing but the parent works
_STAGE_OF = {
    "prompts": "ends", "generation": "generation", "judging": "judging", "pairing": "filtering", "replay": "filtering",
    "filtering": "filtering", "averages": "training", "policies": "training", "logprobs": "evaluation",
    "evaluation": "evaluation",
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One dataset of the undisturbed run."""

    folder: Path  # relative to the workspace
    stage: str  # of `STAGES`
    seconds: float
    cpu_s: float  # of its child
    shards: int
    has_child: bool
    finished: float  # seconds since the epoch


@dataclass(frozen=True)
class Profile:
    """An undisturbed run: what it built and how long it took."""

    parts: list[Part]  # in the order they were finished
    seconds: float
    closing_s: float  # after the last dataset
    cached_s: float  # of a run that finds everything built


def read_parts(workspace: Path, cpu_s: dict[Path, float] | None = None) -> list[Part]:
    """Read what a finished run built, in the order it was finished; `cpu_s` is what was seen of its children."""
    manifests = {path: json.loads(path.read_text()) for path in workspace.rglob("manifest.json")}
    held_out = {m["key"] for m in manifests.values() if _is_held_out(m)}
    parts = []
    for path, manifest in manifests.items():
        part = Part(
            folder=path.parent.relative_to(workspace),
            stage=_stage_of(manifest, held_out),
            seconds=manifest["facts"]["seconds"],
            cpu_s=(cpu_s or {}).get(path.parent, 0.0),
            shards=len(list(path.parent.glob("part-*.parquet"))),
            has_child=path.parent.with_name(f"{path.parent.name}.log").exists(),
            finished=path.stat().st_mtime,
        )
        parts.append(part)
    return sorted(parts, key=lambda part: part.finished)


def _is_held_out(manifest: dict[str, Any]) -> bool:
    return manifest["stage"] == "generation" and manifest["parts"]["slice"]["split"] == "eval"


def _stage_of(manifest: dict[str, Any], held_out: set[str]) -> str:
    # A panel's scores have members in place of candidates.
    of_held_out = manifest["stage"] == "judging" and not held_out.isdisjoint(manifest["parts"].get("candidates", []))
    return "evaluation" if manifest["key"] in held_out or of_held_out else _STAGE_OF[manifest["stage"]]


def plan_chain(
    profile: Profile, workspace: Path, done: Counter[tuple[str, Kind]], chance: random.Random
) -> list[Moment]:
    """Plan one kill in each stage, in the order of the run, each of the kind that its stage had least so far."""
    planned = []
    for stage in STAGES:
        parts = [part for part in profile.parts if part.stage == stage]
        kind = _least_used(stage, KINDS if stage != "ends" and any(part.has_child for part in parts) else ALONE, done)
        if stage == "ends":
            planned.append(_at_an_end(profile, workspace, kind, chance))
        else:
            part = chance.choice([part for part in parts if kind != "child" or part.has_child])
            planned.append(_within(part, workspace, kind, chance))
    order = [workspace / part.folder for part in profile.parts]
    return sorted(planned, key=lambda moment: (moment.after == "manifest", order.index(moment.dataset)))


def _least_used(stage: str, kinds: tuple[Kind, ...], done: Counter[tuple[str, Kind]]) -> Kind:
    start = STAGES.index(stage) % len(kinds)  # so that one chain holds every kind
    return min(kinds[start:] + kinds[:start], key=lambda kind: done[stage, kind])


def _within(part: Part, workspace: Path, kind: Kind, chance: random.Random) -> Moment:
    """Choose a moment in the work on a dataset: at any time, or once some of its shards are written."""
    folder = workspace / part.folder
    if part.shards > 1 and chance.random() < 0.5:
        return Moment(part.stage, folder, kind, "shards", chance.uniform(0, 0.1), chance.randrange(1, part.shards))
    if part.has_child:
        return Moment(part.stage, folder, kind, "lock", 0.0, cpu_s=chance.uniform(0, part.cpu_s))
    return Moment(part.stage, folder, kind, "lock", chance.uniform(0, part.seconds / 2))  # milliseconds, easily missed


def _at_an_end(profile: Profile, workspace: Path, kind: Kind, chance: random.Random) -> Moment:
    """Choose a moment before the first dataset is whole, or after the last: Prefect's start, the report."""
    if chance.random() < 0.5:
        delay_s = chance.uniform(0, profile.cached_s - profile.closing_s)
        return Moment("ends", workspace / profile.parts[0].folder, kind, "start", delay_s)
    last = workspace / profile.parts[-1].folder
    return Moment("ends", last, kind, "manifest", chance.uniform(0, profile.closing_s))
