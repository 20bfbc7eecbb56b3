"""The evaluation stage: sample, score and compare policies on held-out prompts, then ask the gate.

Held-out answers are ordinary candidates and scores, so a policy that was evaluated once is never sampled again.
"""

from dataclasses import asdict, dataclass, field
from typing import Any  # JSON values

import numpy as np
import pyarrow as pa

from evaluation.answers import ScoredAnswers, scored_answers
from evaluation.compare import Comparison, compare
from evaluation.diversity import measure_diversity
from evaluation.gate import decide
from evaluation.kl import Kl, sequence_kl
from flows import plan
from flows.build import Outcome, Workbench, build, read_rows, whole_manifest
from flows.locks import Lock
from flows.plan import Sampler, Step
from flows.recipe import Recipe
from flows.runs import note_use
from flows.slices import PromptSlice
from flows.stages import build_candidates, build_logprobs, build_scores
from flows.store import MAIN_TABLE, Dataset
from generation.engine import PolicyFiles

JUDGE, ANNOTATOR = "judge", "annotator"  # how verdicts name whose they are: two judges may be of one kind


@dataclass(frozen=True)
class Side:
    """One policy's part in a comparison: its answers and both judges' scores of them."""

    sampler: Sampler
    candidates: Step
    scores: dict[str, Step]  # by JUDGE and ANNOTATOR


@dataclass(frozen=True)
class ContestPlan:
    """Every dataset of a round's evaluation."""

    chosen: PromptSlice
    new: Side
    old: Side
    start: Side
    logprobs: Step  # of the new policy's answers, under the start
    verdicts: Step

    def steps(self) -> list[Step]:
        """List the datasets in the order they are built, each once."""
        sides = [step for s in (self.start, self.old, self.new) for step in (s.candidates, *s.scores.values())]
        return list({step.key: step for step in [*sides, self.logprobs, self.verdicts]}.values())


def plan_contest(recipe: Recipe, prompts: Step, new: PolicyFiles, old: PolicyFiles, start: PolicyFiles) -> ContestPlan:
    """Plan the evaluation of a new policy against the last good one and the run's start."""
    chosen = heldout_slice(recipe)
    sides = {
        role: _plan_side(recipe, prompts, policy) for role, policy in {"new": new, "old": old, "start": start}.items()
    }
    logprobs = plan.plan_logprobs(sides["new"].candidates, start)
    inputs = {"logprobs": logprobs}
    for role, side in sides.items():
        inputs |= {role: side.candidates} | {f"{role}_{judge}": step for judge, step in side.scores.items()}
    return ContestPlan(chosen, **sides, logprobs=logprobs, verdicts=plan.plan_evaluation(recipe, inputs))


def heldout_slice(recipe: Recipe) -> PromptSlice:
    """Name the prompts that policies are compared on."""
    return PromptSlice("eval", limit=recipe.evaluation.max_prompts)


def _plan_side(recipe: Recipe, prompts: Step, policy: PolicyFiles) -> Side:
    config, sampling = recipe.evaluation, recipe.generation.sampling
    if config.temperature is not None:
        sampling = sampling.model_copy(update={"temperature": config.temperature})
    sampler = Sampler(policy, recipe.generation.engine, config.k, sampling)
    candidates = plan.plan_candidates(prompts, heldout_slice(recipe), sampler, recipe.seed)
    judges = {JUDGE: config.judge, ANNOTATOR: recipe.judging.annotator}
    return Side(sampler, candidates, {n: plan.plan_scores(prompts, candidates, judge) for n, judge in judges.items()})


@dataclass
class Contest:
    """A planned evaluation at work, and the outcomes of its steps."""

    bench: Workbench
    plan: ContestPlan
    outcomes: list[Outcome] = field(default_factory=list)


def build_evaluation(contest: Contest) -> Outcome:
    """Sample and score what is missing, compare, decide, and store the verdicts with the decision."""
    bench, planned = contest.bench, contest.plan
    for step in planned.steps():
        note_use(bench.store, bench.run, step)
    if whole_manifest(bench, bench.store.dataset(planned.verdicts.stage, planned.verdicts.key)) is None:
        for side in (planned.start, planned.old, planned.new):
            _answer_and_score(contest, side)
        start = planned.start.sampler.policy
        contest.outcomes.append(build_logprobs(bench, planned.chosen, planned.new.candidates, start))

    def work(dataset: Dataset, _: Lock) -> dict[str, Any]:
        return _compare_and_decide(contest, dataset)

    outcome = build(bench, planned.verdicts, work)
    contest.outcomes.append(outcome)
    return outcome


def _answer_and_score(contest: Contest, side: Side) -> None:
    recipe, chosen = contest.bench.recipe, contest.plan.chosen
    built = [
        build_candidates(contest.bench, chosen, side.sampler),
        build_scores(contest.bench, chosen, side.candidates, recipe.judging.annotator, "judging.annotator"),
        build_scores(contest.bench, chosen, side.candidates, recipe.evaluation.judge, "evaluation.judge"),
    ]
    # A policy can play two roles (in round 1 the old one is the start): its later look-ups are no news.
    contest.outcomes += [outcome for outcome in built if outcome.key not in {seen.key for seen in contest.outcomes}]


def _compare_and_decide(contest: Contest, dataset: Dataset) -> dict[str, Any]:
    recipe, planned = contest.bench.recipe, contest.plan
    by_judge = _comparison(contest, planned.old, JUDGE)
    by_annotator = _comparison(contest, planned.old, ANNOTATOR)
    over_start = _comparison(contest, planned.start, JUDGE)
    same_judge = planned.new.scores[JUDGE].key == planned.new.scores[ANNOTATOR].key
    decision = decide(by_judge, by_annotator, recipe.evaluation.gate, same_judge=same_judge)
    dataset.write_shard(0, {MAIN_TABLE: pa.concat_tables([by_judge.verdicts, by_annotator.verdicts])})
    kl = _kl(contest)
    roles = {"new": planned.new, "old": planned.old, "start": planned.start}
    return {
        "rows_in": by_judge.verdicts.num_rows,
        "judge": _figures(by_judge),
        "annotator": _figures(by_annotator),
        "start": _figures(over_start),
        "kl": asdict(kl) if kl else None,
        "mean_tokens": _mean(_answers(contest, planned.new, JUDGE).n_tokens),
        "diversity": {role: _diversity(contest, side) for role, side in roles.items()},
        "decision": asdict(decision),
    }


def _comparison(contest: Contest, against: Side, judge: str) -> Comparison:
    recipe = contest.bench.recipe
    return compare(
        _answers(contest, contest.plan.new, judge),
        _answers(contest, against, judge),
        judge,
        recipe.evaluation.pass_score if judge == JUDGE else None,
        recipe.evaluation.n_bootstrap,
        recipe.seed,
    )


def _answers(contest: Contest, side: Side, judge: str) -> ScoredAnswers:
    store, scores = contest.bench.store, side.scores[judge]
    return scored_answers(
        read_rows(store.dataset(side.candidates.stage, side.candidates.key)),
        read_rows(store.dataset(scores.stage, scores.key)),
    )


def _diversity(contest: Contest, side: Side) -> dict[str, float | None]:
    answers = read_rows(contest.bench.store.dataset(side.candidates.stage, side.candidates.key))
    return asdict(measure_diversity(answers))


def _figures(comparison: Comparison) -> dict[str, Any]:
    """Everything but the verdicts, as JSON values."""
    fields = {name: value for name, value in vars(comparison).items() if name != "verdicts"}
    return fields | {name: asdict(fields[name]) for name in ("win_rate", "score_delta")}


def _kl(contest: Contest) -> Kl | None:
    """KL of the new policy to the start over the new policy's own held-out answers; None where it can't be estimated.

    The mean log ratio estimates it only for answers drawn at temperature 1 from the whole distribution.
    """
    store, planned = contest.bench.store, contest.plan
    sampling = planned.new.sampler.sampling
    if sampling.temperature != 1 or sampling.top_p != 1:
        return None
    drawn = read_rows(store.dataset(planned.new.candidates.stage, planned.new.candidates.key))
    other = read_rows(store.dataset(planned.logprobs.stage, planned.logprobs.key))
    reference = dict(
        zip(other.column("candidate_id").to_pylist(), other.column("logprob_sum").to_pylist(), strict=True)
    )
    rows = drawn.select(["candidate_id", "logprob_sum", "n_tokens"]).to_pylist()
    known = [row for row in rows if row["candidate_id"] in reference and row["logprob_sum"] is not None]
    if not known:
        return None
    return sequence_kl(
        np.array([row["logprob_sum"] for row in known]),
        np.array([reference[row["candidate_id"]] for row in known]),
        np.array([row["n_tokens"] for row in known]),
    )


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
