"""A run: a recipe on the prompts that its source holds now, from a start policy; it has a folder of its own.

    workspace/runs/<run>/run.json  recipe.yaml  keys.jsonl  policy.json  round-01/round.json  summary.json  report.html

The same recipe on the same prompts is the same run and goes on where it stopped. With `iteration.start: last_good` the
runs of a recipe follow each other as cycles: new prompts begin the next one at the last good policy.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any  # JSON values

import pyarrow.compute as pc
import yaml

from flows import locks
from flows.identities import policy_from
from flows.keys import chosen_fields
from flows.moves import Move
from flows.plan import Step, plan_prompts
from flows.recipe import Recipe
from flows.slices import PromptSlice, read_slice
from flows.store import Store
from flows.tables import clear_errors, write_text
from generation.engine import PolicyFiles
from generation.prompts import read_prompts, take_split

Json = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What a run works on.

    Attributes:
        name: Name of its folder.
        series: Digest that all runs of one recipe share.
        cycle: 1-based place among them.
        rounds: Most rounds.
        prompts: The prompts, planned once: what is added meanwhile waits for the next run.
        start: The policy it starts from.
        base: The recipe's policy, as it was when the first run of the series began.
        earlier: Keys of the kept pairs of the runs it continues.
    """

    name: str
    series: str
    cycle: int
    rounds: int
    prompts: Step
    start: PolicyFiles
    base: PolicyFiles
    earlier: list[str]

    def to_json(self) -> Json:
        """Give the run as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Json) -> "Run":
        """Read what `to_json` gave; other fields are left alone."""
        known: Json = {name: fields[name] for name in cls.__dataclass_fields__}
        known |= {role: PolicyFiles(**fields[role]) for role in ("start", "base")}
        known["prompts"] = Step(**fields["prompts"])
        return cls(**known)


def open_run(store: Store, recipe: Recipe) -> Run:
    """Find the run that a recipe means now, or name a new one; nothing is written.

    With `iteration.start: last_good`, a run that did not end goes on with the prompts it began with; one that ended is
    followed by the next cycle once there are new prompts enough for its rounds.

    Raises:
        ValueError: The files of the recipe's policy have changed in the middle of a series.
    """
    past = find_cycles(store, recipe) if recipe.iteration.start == "last_good" else []
    base = policy_from(recipe.policy)
    if not past:
        return _name_run(recipe, plan_prompts(recipe), base, base, cycle=1)
    latest = past[-1]
    if Path(base.model).is_dir() and base.key != latest.base.key:
        raise ValueError(
            f"policy.model: the files in {base.model} have changed since {latest.name} and the runs it follows began: "
            "put the old ones back, or begin anew under another `name`"
        )
    planned = plan_prompts(recipe)
    unchanged = latest.prompts.parts["source"] == planned.parts["source"]
    if unchanged or not has_ended(store, latest.name):
        return latest
    return _next_cycle(store, recipe, latest) or latest


def find_cycles(store: Store, recipe: Recipe) -> list[Run]:
    """List the runs of a recipe that have begun, in the order of their cycles."""
    digest = series_digest(recipe)
    found = [_read_json(path) for path in store.root.glob("runs/[!.]*/run.json")]
    ours = [fields for fields in found if fields["series"] == digest]
    return [Run.from_json(fields) for fields in sorted(ours, key=lambda one: (one["cycle"], one["created"]))]


def read_run(store: Store, name: str) -> Run:
    """Read a run that has begun."""
    return Run.from_json(_read_json(store.run_folder(name) / "run.json"))


@contextmanager
def series_held(store: Store, recipe: Recipe) -> Iterator[None]:
    """Hold the series of a recipe while its next run is opened and kept: two starts at once begin one run."""
    if recipe.iteration.start == "policy":
        yield
        return
    with locks.hold(store.root / "runs" / f".{series_digest(recipe)}.lock"):
        yield


def keep_only(store: Store, name: str, folders: Set[str]) -> None:
    """Remove what an earlier walk of a run left of rounds and retries that it has no more."""
    for folder in store.run_folder(name).glob("round-*"):
        if folder.name not in folders:
            shutil.rmtree(folder)


def has_ended(store: Store, name: str) -> bool:
    """Tell whether a run has come to its end, however it ended."""
    return (store.root / "runs" / name / "summary.json").exists()


def rounds_begun(store: Store, name: str) -> int:
    """Count the rounds of a run that have come as far as a new policy's evaluation; retries count once."""
    paths = (store.root / "runs" / name).glob("round-*/round.json")
    return max((_read_json(path)["round"] for path in paths), default=0)


def series_digest(recipe: Recipe) -> str:
    """Hash what the runs of one recipe have in common."""
    return _digest(chosen_fields(recipe))


def used_prompts(store: Store, step: Step) -> frozenset[str]:
    """Collect the train prompts that earlier runs trained on, as a step of prompts names them.

    Raises:
        FileNotFoundError: An earlier run's prompts are no longer stored.
    """
    ids: set[str] = set()
    for key, rounds in step.parts.get("used", []):
        train = read_slice(store.dataset("prompts", key), PromptSlice("train"))
        trained = train.filter((pc.field("round") <= rounds) | pc.field("round").is_null())
        ids.update(trained.column("prompt_id").to_pylist())
    return frozenset(ids)


def keep_run(store: Store, recipe: Recipe, run: Run) -> None:
    """Write what the run works on, and its recipe as it was resolved, into the run's folder."""
    folder = store.run_folder(run.name)
    if not (folder / "run.json").exists():
        fields = run.to_json() | {"run": run.name, "recipe": recipe.name, "seed": recipe.seed, "created": _now()}
        write_text(folder / "run.json", json.dumps(fields, indent=1))
    write_text(folder / "recipe.yaml", yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))


def keep_last_good(store: Store, name: str, policy: PolicyFiles, made: Move, *, ended: bool = False) -> None:
    """Name the last good policy in the run's folder.

    A rerun passes through its first rounds again; what is named steps back only where the run's end says so.

    Args:
        store: The workspace.
        name: The run.
        policy: Its last good policy.
        made: The round that made it; number 0 is the start.
        ended: Whether the run's end says so.
    """
    path = store.run_folder(name) / "policy.json"
    known = _read_json(path) if path.exists() else None
    if known and (known["policy"] == asdict(policy) or (not ended and known["round"] > made.number)):
        return
    fields = {"run": name, "round": made.number, "attempt": made.attempt, "policy": asdict(policy), "decided": _now()}
    write_text(path, json.dumps(fields, indent=1))


def read_last_good(store: Store, name: str) -> PolicyFiles:
    """Read which policy a run that has begun ended with, or has come to so far."""
    return PolicyFiles(**_read_json(store.root / "runs" / name / "policy.json")["policy"])


def note_use(store: Store, name: str, step: Step) -> None:
    """Note that a run uses a dataset, before the dataset is touched: what is noted is never swept away."""
    path = store.run_folder(name) / "keys.jsonl"
    line = json.dumps({"stage": step.stage, "key": step.key}) + "\n"
    known = path.read_text() if path.exists() else ""
    if line not in known:
        with clear_errors(path.parent), path.open("a") as file:
            file.write(line if known.endswith("\n") or not known else f"\n{line}")  # a kill can cut a line short


def _next_cycle(store: Store, recipe: Recipe, latest: Run) -> Run | None:
    """Name the cycle after one that has ended; None while there are too few new prompts for a round.

    It carries over what the latest run names of those before, whose folders may be gone.
    """
    used = [*latest.prompts.parts.get("used", []), [latest.prompts.key, rounds_begun(store, latest.name)]]
    prompts = plan_prompts(recipe, used)
    fresh = read_prompts(recipe.prompts, recipe.seed, used_prompts(store, prompts)).prompts
    n_train, wanted = take_split(fresh, "train", None).num_rows, recipe.prompts.per_round
    rounds = recipe.rounds if wanted is None else min(recipe.rounds, n_train // wanted)
    fewest = 1 if recipe.prompts.each_round == "all" else rounds
    if not rounds or n_train < fewest:
        return None
    earlier = list(dict.fromkeys([*latest.earlier, *_kept_keys(store, latest.name)]))
    start = read_last_good(store, latest.name)
    return _name_run(recipe, prompts, start, latest.base, cycle=latest.cycle + 1, rounds=rounds, earlier=earlier)


def _kept_keys(store: Store, name: str) -> list[str]:
    rounds = sorted((store.root / "runs" / name).glob("round-*/round.json"))
    stages = [_read_json(path)["stages"]["filtering"] for path in rounds]
    return [outcome["key"] for outcomes in stages for outcome in outcomes if outcome["stage"] == "filtering"]


def _name_run(
    recipe: Recipe,
    prompts: Step,
    start: PolicyFiles,
    base: PolicyFiles,
    *,
    cycle: int,
    rounds: int | None = None,
    earlier: list[str] = [],  # noqa: B006  never changed
) -> Run:
    digest = _digest([chosen_fields(recipe), prompts.key, start.key])
    name = f"{recipe.name}-seed{recipe.seed}-{digest}"
    return Run(name, series_digest(recipe), cycle, rounds or recipe.rounds, prompts, start, base, earlier)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} can't be read ({error}): remove the folder {path.parent}") from error


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
