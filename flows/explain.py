"""What a run would do: which datasets are complete, which would be built, and what changed in their keys."""

import json
from dataclasses import asdict, dataclass
from typing import Any  # JSON values

from rich.console import Console
from rich.table import Table

from flows import plan
from flows.comparison import heldout_sampler, heldout_slice, plan_contest
from flows.plan import Step
from flows.recipe import Recipe
from flows.slices import PromptSlice
from flows.stages import Workbench, trained_policy
from flows.store import Manifest, Store
from generation.engine import PolicyFiles

_MAX_CHANGES = 4


def explain_recipe(store: Store, recipe: Recipe) -> list[dict[str, Any]]:
    """Walk through a run as far as its gates' decisions are known.

    Returns:
        One JSON object a dataset: round, stage, what for, key, state (cached, partial, missing), shards done, changed
        parts of the key against the newest complete dataset of that stage.
    """
    bench = Workbench(store, recipe)
    start = plan.policy_from(recipe.policy)
    lines = [_line(store, 0, "prompts", plan.plan_prompts(recipe))]
    good = start
    for number in range(1, recipe.rounds + 1):
        steps, new = _round_steps(bench, number, good, start)
        lines += [_line(store, number, title, step) for title, step in steps]
        manifest = store.dataset("evaluation", steps[-1][1].key).manifest()
        if manifest is None:
            break  # later rounds start from a policy that this gate has yet to choose
        if manifest.facts["decision"]["decision"] == "pass":
            good = new
    return lines


def show_explanation(lines: list[dict[str, Any]]) -> None:
    """Print the walk as a table."""
    table = Table()
    for name in ("round", "dataset", "key", "state", "what changed in the key"):
        table.add_column(name, overflow="fold")
    colours = {"cached": "green", "partial": "yellow", "missing": "red"}
    for line in lines:
        state = f"[{colours[line['state']]}]{line['state']}[/]"
        changes = "\n".join(line["changes"])
        table.add_row(str(line["round"] or ""), f"{line['stage']} {line['title']}", line["key"], state, changes)
    console = Console()
    console.print(table)
    missing = sum(line["state"] != "cached" for line in lines)
    console.print(f"{len(lines) - missing} cached, {missing} to build; later rounds follow once their gate is known")


def _round_steps(
    bench: Workbench, number: int, good: PolicyFiles, start: PolicyFiles
) -> tuple[list[tuple[str, Step]], PolicyFiles]:
    recipe = bench.recipe
    prompts, chosen = plan.plan_prompts(recipe), PromptSlice("train", number)
    samplers = plan.round_samplers(recipe, good)
    candidates = [plan.plan_candidates(prompts, chosen, sampler, recipe.seed) for sampler in samplers]
    scores = [plan.plan_scores(prompts, step, recipe.judging.annotator) for step in candidates]
    pairs = plan.plan_pairs(recipe, prompts, candidates, scores)
    kept = plan.plan_filtering(recipe, pairs)
    reference = start if recipe.training.reference == "initial" else good
    policy = plan.plan_policy(recipe, kept, number, good, reference)
    new = trained_policy(bench, policy, good)
    heldout = plan.plan_candidates(prompts, heldout_slice(recipe), heldout_sampler(recipe, new), recipe.seed)
    steps = [("candidates", step) for step in candidates] + [("scores", step) for step in scores]
    steps += [("", pairs), ("", kept), ("the new policy", policy), ("held-out candidates", heldout)]
    return [*steps, ("", plan_contest(recipe, new, good, start))], new


def _line(store: Store, number: int, title: str, step: Step) -> dict[str, Any]:
    dataset = store.dataset(step.stage, step.key)
    shards = len(dataset.shards())
    complete = dataset.manifest() is not None
    line = _Line(
        round=number,
        stage=step.stage,
        title=title,
        key=step.key,
        state="cached" if complete else "partial" if shards else "missing",
        shards=shards,
        changes=[] if complete else _changes(store, step),
    )
    return asdict(line)


@dataclass(frozen=True)
class _Line:
    round: int
    stage: str
    title: str
    key: str
    state: str
    shards: int
    changes: list[str]


def _changes(store: Store, step: Step) -> list[str]:
    """Say how a key differs from the most similar complete dataset of its stage."""
    wanted = _flatten(step.parts | {"version": step.version})
    known = [_flatten(m.parts | {"version": m.version}) for m in _manifests(store, step.stage)]
    if not known:
        return ["nothing of this stage is stored yet"]
    nearest = min(known, key=lambda parts: len(parts.items() ^ wanted.items()))
    names = sorted({name for name, _ in nearest.items() ^ wanted.items()})
    changes = [f"{name}: {nearest.get(name, 'absent')} > {wanted.get(name, 'absent')}" for name in names]
    return changes[:_MAX_CHANGES] + ([f"and {len(changes) - _MAX_CHANGES} more"] if len(changes) > _MAX_CHANGES else [])


def _manifests(store: Store, stage: str) -> list[Manifest]:
    return list(store.manifests([stage]))


def _flatten(value: Any, name: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {name: json.dumps(value)}
    flat: dict[str, str] = {}
    for key, inner in items:
        flat |= _flatten(inner, f"{name}.{key}" if name else str(key))
    return flat
