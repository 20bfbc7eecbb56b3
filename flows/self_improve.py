"""The flows: `self_improve` runs rounds, `round` runs the stages of one; each stage is one Prefect task run.

Prefect sees small references only. The store is the only cache: a task that is entered again finds its datasets
complete and comes back at once, so a retry in the UI continues where the work stopped.
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any  # JSON values

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import plan, stages
from flows.artifacts import publish_round, publish_stage
from flows.comparison import Contest, build_evaluation
from flows.recipe import Recipe
from flows.rounds import keep_round, round_figures, run_summary
from flows.slices import PromptSlice
from flows.stages import Outcome, Workbench
from flows.store import Store
from generation.engine import PolicyFiles

Json = dict[str, Any]


@flow(name="self-improve", validate_parameters=False)
def self_improve(recipe: Json, workspace: str) -> Json:
    """Improve a policy round by round.

    Args:
        recipe: The fields of a checked recipe, paths absolute.
        workspace: Folder of the store.

    Returns:
        `flows.rounds.run_summary`, with `busy_s`: seconds of our own code, stages and Prefect apart.
    """
    bench = _bench(recipe, workspace)
    start = plan.policy_from(bench.recipe.policy)
    first = read_prompts(recipe, workspace)
    good, results = start, []
    for number in range(1, bench.recipe.rounds + 1):
        result = run_round(recipe, workspace, number, asdict(start), asdict(good))
        keep_round(bench.store, bench.recipe, result)
        results.append(result)
        if result["evaluation"]["decision"]["decision"] == "pass":
            good = PolicyFiles(**result["policy"])
        elif bench.recipe.evaluation.gate.on_refusal == "stop":
            break
    summary = run_summary(bench.recipe, results)
    busy = first["busy_s"] + sum(result["busy_s"] for result in results)
    return summary | {"results": results, "busy_s": busy}


@flow(name="round", flow_run_name="round-{number}", validate_parameters=False)
def run_round(recipe: Json, workspace: str, number: int, start: Json, good: Json) -> Json:
    """Run one round: sample from the last good policy, judge, filter, train, evaluate.

    Args:
        recipe: The fields of a checked recipe.
        workspace: Folder of the store.
        number: 1-based number of the round.
        start: Files of the run's starting policy.
        good: Files of the last good policy.
    """
    started = time.monotonic()
    done = [
        generate(recipe, workspace, number, good),
        judge(recipe, workspace, number, good),
        filter_round(recipe, workspace, number, good),
        train(recipe, workspace, number, start, good),
    ]
    policy = done[-1]["policy"]
    evaluated = evaluate(recipe, workspace, policy, good, start)
    done.append(evaluated)
    result = {
        "round": number,
        "policy": policy,
        "evaluation": evaluated["facts"],
        "stages": {stage["name"]: stage["outcomes"] for stage in done},
        "busy_s": sum(stage["busy_s"] for stage in done),
        "seconds": round(time.monotonic() - started, 1),
    }
    publish_round(round_figures(result), evaluated["facts"]["decision"]["reasons"])
    return result


@task(name="prompts", cache_policy=NO_CACHE, persist_result=False)
def read_prompts(recipe: Json, workspace: str) -> Json:
    """Read the prompts into the store."""
    started = time.perf_counter()
    return _done("prompts", [stages.build_prompts(_bench(recipe, workspace))], started)


@task(name="generation", task_run_name="generation-{number}", cache_policy=NO_CACHE, persist_result=False)
def generate(recipe: Json, workspace: str, number: int, good: Json) -> Json:
    """Sample candidates from the last good policy, and from the others of the mix."""
    started = time.perf_counter()
    bench = _bench(recipe, workspace)
    outcomes = [
        stages.build_candidates(bench, _train_slice(number), sampler)
        for sampler in plan.round_samplers(bench.recipe, PolicyFiles(**good))
    ]
    return _done("generation", outcomes, started)


@task(name="judging", task_run_name="judging-{number}", cache_policy=NO_CACHE, persist_result=False)
def judge(recipe: Json, workspace: str, number: int, good: Json) -> Json:
    """Score the candidates and pair them."""
    started = time.perf_counter()
    bench = _bench(recipe, workspace)
    samplers, chosen = plan.round_samplers(bench.recipe, PolicyFiles(**good)), _train_slice(number)
    annotator = bench.recipe.judging.annotator
    outcomes = [stages.build_scores(bench, chosen, sampler, annotator) for sampler in samplers]
    outcomes.append(stages.build_pairs(bench, chosen, samplers))
    return _done("judging", outcomes, started)


@task(name="filtering", task_run_name="filtering-{number}", cache_policy=NO_CACHE, persist_result=False)
def filter_round(recipe: Json, workspace: str, number: int, good: Json) -> Json:
    """Drop pairs that would teach little or something wrong."""
    started = time.perf_counter()
    bench = _bench(recipe, workspace)
    outcome = stages.build_kept(bench, _pairs_step(bench.recipe, number, good))
    return _done("filtering", [outcome], started)


@task(name="training", task_run_name="training-{number}", cache_policy=NO_CACHE, persist_result=False)
def train(recipe: Json, workspace: str, number: int, start: Json, good: Json) -> Json:
    """Train the round's new policy from the last good one."""
    started = time.perf_counter()
    bench = _bench(recipe, workspace)
    kept = plan.plan_filtering(bench.recipe, _pairs_step(bench.recipe, number, good))
    current = PolicyFiles(**good)
    reference = PolicyFiles(**start) if bench.recipe.training.reference == "initial" else current
    outcome = stages.build_policy(bench, kept, number, current, reference)
    step = plan.plan_policy(bench.recipe, kept, number, current, reference)
    policy = stages.trained_policy(bench, step, current)
    return _done("training", [outcome], started) | {"policy": asdict(policy)}


@task(name="evaluation", cache_policy=NO_CACHE, persist_result=False)
def evaluate(recipe: Json, workspace: str, new: Json, good: Json, start: Json) -> Json:
    """Compare the new policy with the last good one on held-out prompts and ask the gate."""
    started = time.perf_counter()
    contest = Contest(_bench(recipe, workspace), PolicyFiles(**new), PolicyFiles(**good), PolicyFiles(**start))
    outcome = build_evaluation(contest)
    return _done("evaluation", contest.outcomes, started) | {"facts": outcome.facts}


def _done(name: str, outcomes: list[Outcome], started: float) -> Json:
    """Report a stage; its own time is what was not spent in building datasets."""
    busy = time.perf_counter() - started - sum(outcome.seconds for outcome in outcomes)
    publish_stage(name, outcomes)
    return {"name": name, "outcomes": [outcome.to_json() for outcome in outcomes], "busy_s": busy}


def _bench(recipe: Json, workspace: str) -> Workbench:
    return Workbench(Store(Path(workspace)), Recipe.model_validate(recipe))


def _train_slice(number: int) -> PromptSlice:
    return PromptSlice("train", number)


def _pairs_step(recipe: Recipe, number: int, good: Json) -> plan.Step:
    prompts, chosen = plan.plan_prompts(recipe), _train_slice(number)
    candidates = [
        plan.plan_candidates(prompts, chosen, s, recipe.seed) for s in plan.round_samplers(recipe, PolicyFiles(**good))
    ]
    scores = [plan.plan_scores(prompts, step, recipe.judging.annotator) for step in candidates]
    return plan.plan_pairs(recipe, prompts, candidates, scores)
