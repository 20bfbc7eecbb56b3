"""The evaluation stage: sample, score and compare policies on held-out prompts, then ask the gate.

Held-out answers are ordinary candidates and scores, so a policy that was evaluated once is never sampled again.
"""

from dataclasses import asdict, dataclass, field
from typing import Any  # JSON values

import numpy as np
import pyarrow as pa

from evaluation.answers import ScoredAnswers, scored_answers
from evaluation.compare import Comparison, compare
from evaluation.gate import decide
from evaluation.kl import sequence_kl
from flows import plan
from flows.locks import Lock
from flows.plan import Sampler, Step
from flows.recipe import Recipe
from flows.slices import PromptSlice
from flows.stages import Outcome, Workbench, build, build_candidates, build_logprobs, build_scores, read_rows
from flows.store import MAIN_TABLE, Dataset
from generation.engine import PolicyFiles
from judging.config import JudgeConfig


@dataclass
class Contest:
    """The policies of one round's evaluation, and the outcomes of its steps."""

    bench: Workbench
    new: PolicyFiles
    old: PolicyFiles
    start: PolicyFiles
    outcomes: list[Outcome] = field(default_factory=list)


def heldout_slice(recipe: Recipe) -> PromptSlice:
    """Name the prompts that policies are compared on."""
    return PromptSlice("eval", None, recipe.evaluation.max_prompts)


def heldout_sampler(recipe: Recipe, policy: PolicyFiles) -> Sampler:
    """Say how a policy answers held-out prompts."""
    config = recipe.evaluation
    sampling = recipe.generation.sampling
    if config.temperature is not None:
        sampling = sampling.model_copy(update={"temperature": config.temperature})
    return Sampler(policy, recipe.generation.engine, config.k, sampling)


def plan_contest(recipe: Recipe, new: PolicyFiles, old: PolicyFiles, start: PolicyFiles) -> Step:
    """Plan the evaluation's own dataset, with all that it reads."""
    prompts, chosen = plan.plan_prompts(recipe), heldout_slice(recipe)
    inputs: dict[str, Step] = {}
    for role, policy in {"new": new, "old": old, "start": start}.items():
        candidates = plan.plan_candidates(prompts, chosen, heldout_sampler(recipe, policy), recipe.seed)
        inputs[role] = candidates
        inputs[f"{role}_annotated"] = plan.plan_scores(prompts, candidates, recipe.judging.annotator)
        inputs[f"{role}_judged"] = plan.plan_scores(prompts, candidates, recipe.evaluation.judge)
    inputs["logprobs"] = plan.plan_logprobs(inputs["new"], start)
    return plan.plan_evaluation(recipe, inputs)


def build_evaluation(contest: Contest) -> Outcome:
    """Sample and score what is missing, compare, decide, and store the verdicts with the decision."""
    bench = contest.bench
    step = plan_contest(bench.recipe, contest.new, contest.old, contest.start)
    if bench.store.dataset(step.stage, step.key).manifest() is None:
        for policy in (contest.start, contest.old, contest.new):
            _answer_and_score(contest, policy)
        chosen, sampler = heldout_slice(bench.recipe), heldout_sampler(bench.recipe, contest.new)
        contest.outcomes.append(build_logprobs(bench, chosen, sampler, contest.start))

    def work(dataset: Dataset, _: Lock) -> dict[str, Any]:
        return _compare_and_decide(contest, dataset)

    outcome = build(bench.store, step, work)
    contest.outcomes.append(outcome)
    return outcome


def _answer_and_score(contest: Contest, policy: PolicyFiles) -> None:
    recipe = contest.bench.recipe
    chosen, sampler = heldout_slice(recipe), heldout_sampler(recipe, policy)
    built = [build_candidates(contest.bench, chosen, sampler)]
    for judge in (recipe.judging.annotator, recipe.evaluation.judge):
        built.append(build_scores(contest.bench, chosen, sampler, judge))
    # A policy can play two roles (in round 1 the old one is the start): its later look-ups are no news.
    contest.outcomes += [outcome for outcome in built if outcome.key not in {seen.key for seen in contest.outcomes}]


def _answers(contest: Contest, policy: PolicyFiles, judge: JudgeConfig) -> ScoredAnswers:
    recipe, store = contest.bench.recipe, contest.bench.store
    prompts, chosen = plan.plan_prompts(recipe), heldout_slice(recipe)
    candidates = plan.plan_candidates(prompts, chosen, heldout_sampler(recipe, policy), recipe.seed)
    scores = plan.plan_scores(prompts, candidates, judge)
    return scored_answers(
        read_rows(store.dataset(candidates.stage, candidates.key)), read_rows(store.dataset(scores.stage, scores.key))
    )


def _compare_and_decide(contest: Contest, dataset: Dataset) -> dict[str, Any]:
    recipe = contest.bench.recipe
    by_judge = _comparison(contest, contest.old, recipe.evaluation.judge)
    by_annotator = _comparison(contest, contest.old, recipe.judging.annotator)
    over_start = _comparison(contest, contest.start, recipe.evaluation.judge)
    decision = decide(by_judge, by_annotator, recipe.evaluation.gate)
    dataset.write_shard(0, {MAIN_TABLE: pa.concat_tables([by_judge.verdicts, by_annotator.verdicts])})
    return {
        "rows_in": by_judge.n_prompts + by_judge.n_unscored,
        "judge": _figures(by_judge),
        "annotator": _figures(by_annotator),
        "start": _figures(over_start),
        "kl": asdict(_kl(contest)),
        "mean_tokens": _mean(_answers(contest, contest.new, recipe.evaluation.judge).n_tokens),
        "decision": asdict(decision),
    }


def _comparison(contest: Contest, against: PolicyFiles, judge: JudgeConfig) -> Comparison:
    recipe = contest.bench.recipe
    pass_score = recipe.evaluation.pass_score if judge == recipe.evaluation.judge else None
    return compare(
        _answers(contest, contest.new, judge),
        _answers(contest, against, judge),
        judge.kind,
        pass_score,
        recipe.evaluation.n_bootstrap,
        recipe.seed,
    )


def _figures(comparison: Comparison) -> dict[str, Any]:
    """Everything but the verdicts, as JSON values."""
    fields = {name: value for name, value in vars(comparison).items() if name != "verdicts"}
    return fields | {name: asdict(fields[name]) for name in ("win_rate", "score_delta")}


def _kl(contest: Contest) -> Any:
    """KL of the new policy to the start, over the new policy's own held-out answers."""
    recipe, store = contest.bench.recipe, contest.bench.store
    chosen, sampler = heldout_slice(recipe), heldout_sampler(recipe, contest.new)
    candidates = plan.plan_candidates(plan.plan_prompts(recipe), chosen, sampler, recipe.seed)
    drawn = read_rows(store.dataset(candidates.stage, candidates.key))
    under_start = plan.plan_logprobs(candidates, contest.start)
    other = read_rows(store.dataset(under_start.stage, under_start.key))
    reference = dict(
        zip(other.column("candidate_id").to_pylist(), other.column("logprob_sum").to_pylist(), strict=True)
    )
    rows = drawn.select(["candidate_id", "logprob_sum", "n_tokens"]).to_pylist()
    known = [row for row in rows if row["candidate_id"] in reference and row["logprob_sum"] is not None]
    return sequence_kl(
        np.array([row["logprob_sum"] for row in known]),
        np.array([reference[row["candidate_id"]] for row in known]),
        np.array([row["n_tokens"] for row in known]),
    )


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
