"""The flows: `self_improve` runs rounds, `round` runs the stages of one; each stage is one Prefect task run.

Prefect sees small references only. The store is the only cache: a task that is entered again finds its datasets
complete and comes back at once, so a retry in the UI continues where the work stopped.
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any  # JSON values

from prefect import flow, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows import plan, stages
from flows.artifacts import publish_round, publish_stage
from flows.build import Outcome, Workbench
from flows.comparison import Contest, build_evaluation, plan_contest
from flows.identities import policy_from
from flows.plan import RoundPlan, Step
from flows.preflight import check_before_start
from flows.recipe import Recipe
from flows.rounds import keep_recipe, keep_round, round_figures, run_summary
from flows.store import Store
from generation.engine import PolicyFiles

Json = dict[str, Any]


@flow(name="self-improve", validate_parameters=False, persist_result=False)
def self_improve(recipe: Json, workspace: str) -> Json:
    """Improve a policy round by round.

    Args:
        recipe: The fields of a checked recipe, paths absolute.
        workspace: Folder of the store.

    Returns:
        `flows.rounds.run_summary`, with `results` (of each round) and `busy_s`: seconds of our own code, without
        building datasets and without Prefect.
    """
    checked = Recipe.model_validate(recipe)
    run = {"recipe": recipe, "workspace": workspace, "prompts": asdict(plan.plan_prompts(checked))}
    bench = _bench(run)
    keep_recipe(bench.store, checked)
    start = policy_from(checked.policy)
    first = read_prompts(run)
    check_before_start(bench)
    good, results = start, []
    for number in range(1, checked.rounds + 1):
        with tags(*flow_run.tags):  # the automation on heartbeats looks for them in rounds too
            result = run_round(run, number, asdict(start), asdict(good))
        keep_round(bench.store, checked, result)
        results.append(result)
        if result["evaluation"]["decision"]["decision"] == "pass":
            good = PolicyFiles(**result["policy"])
        elif checked.evaluation.gate.on_refusal == "stop":
            break
    busy = first["busy_s"] + sum(result["busy_s"] for result in results)
    summary = run_summary(checked, first["outcomes"], results)
    return summary | {"results": results, "prompts": first["outcomes"], "busy_s": busy}


@flow(name="round", flow_run_name="round-{number}", validate_parameters=False, persist_result=False)
def run_round(run: Json, number: int, start: Json, good: Json) -> Json:
    """Run one round: sample from the last good policy, judge, filter, train, evaluate.

    Args:
        run: The recipe's fields, the workspace and the planned prompts.
        number: 1-based number of the round.
        start: Files of the run's starting policy.
        good: Files of the last good policy.
    """
    started = time.monotonic()
    done = [stage(run, number, start, good) for stage in (generate, judge, filter_round, train)]
    policy = done[-1]["policy"]
    evaluated = evaluate(run, policy, good, start)
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
def read_prompts(run: Json) -> Json:
    """Read the prompts into the store."""
    started = time.perf_counter()
    return _done("prompts", [stages.build_prompts(_bench(run))], started)


@task(name="generation", task_run_name="generation-{number}", cache_policy=NO_CACHE, persist_result=False)
def generate(run: Json, number: int, start: Json, good: Json) -> Json:
    """Sample candidates from the last good policy, and from the others of the mix."""
    started = time.perf_counter()
    bench = _bench(run)
    planned = _plan(bench, number, start, good)
    outcomes = [stages.build_candidates(bench, planned.chosen, sampler) for sampler in planned.samplers]
    return _done("generation", outcomes, started)


@task(name="judging", task_run_name="judging-{number}", cache_policy=NO_CACHE, persist_result=False)
def judge(run: Json, number: int, start: Json, good: Json) -> Json:
    """Score the candidates and pair them."""
    started = time.perf_counter()
    bench = _bench(run)
    planned, annotator = _plan(bench, number, start, good), bench.recipe.judging.annotator
    outcomes = [
        stages.build_scores(bench, planned.chosen, step, annotator, "judging.annotator") for step in planned.candidates
    ]
    outcomes.append(stages.build_pairs(bench, planned))
    return _done("judging", outcomes, started)


@task(name="filtering", task_run_name="filtering-{number}", cache_policy=NO_CACHE, persist_result=False)
def filter_round(run: Json, number: int, start: Json, good: Json) -> Json:
    """Drop pairs that would teach little or something wrong."""
    started = time.perf_counter()
    bench = _bench(run)
    return _done("filtering", [stages.build_kept(bench, _plan(bench, number, start, good))], started)


@task(name="training", task_run_name="training-{number}", cache_policy=NO_CACHE, persist_result=False)
def train(run: Json, number: int, start: Json, good: Json) -> Json:
    """Train the round's new policy from the last good one."""
    started = time.perf_counter()
    bench = _bench(run)
    planned = _plan(bench, number, start, good)
    outcome = stages.build_policy(bench, planned)
    return _done("training", [outcome], started) | {"policy": asdict(stages.trained_policy(bench, planned))}


@task(name="evaluation", cache_policy=NO_CACHE, persist_result=False)
def evaluate(run: Json, new: Json, good: Json, start: Json) -> Json:
    """Compare the new policy with the last good one on held-out prompts and ask the gate."""
    started = time.perf_counter()
    bench = _bench(run)
    policies = [PolicyFiles(**fields) for fields in (new, good, start)]
    contest = Contest(bench, plan_contest(bench.recipe, bench.prompts, *policies))
    outcome = build_evaluation(contest)
    return _done("evaluation", contest.outcomes, started) | {"facts": outcome.facts}


def _done(name: str, outcomes: list[Outcome], started: float) -> Json:
    """Report a stage; its own time is what was not spent in building datasets."""
    busy = time.perf_counter() - started - sum(outcome.seconds for outcome in outcomes)
    publish_stage(name, outcomes)
    return {"name": name, "outcomes": [outcome.to_json() for outcome in outcomes], "busy_s": busy}


def _bench(run: Json) -> Workbench:
    return Workbench(Store(Path(run["workspace"])), Recipe.model_validate(run["recipe"]), Step(**run["prompts"]))


def _plan(bench: Workbench, number: int, start: Json, good: Json) -> RoundPlan:
    return plan.plan_round(bench.recipe, bench.prompts, number, PolicyFiles(**good), PolicyFiles(**start))
