"""The stages as plain functions: look into the store, build what is missing, say what came in and out.

Each takes a `Workbench` and the datasets before it, and returns an `Outcome`. The Prefect flow wraps them in tasks, the
command line calls them one by one.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any  # JSON values

import pyarrow as pa

from filtering.filter import filter_pairs
from flows import plan
from flows.child import StageError, run_child
from flows.display import stage_bar
from flows.locks import Lock
from flows.plan import Sampler, Step
from flows.recipe import Recipe
from flows.slices import PromptSlice, read_slice
from flows.store import MAIN_TABLE, Dataset, Store
from generation.engine import PolicyFiles
from generation.engines import engine_environment
from generation.prompts import assign_rounds, read_prompts
from judging.config import JudgeConfig
from judging.pairing import explain_no_pairs, pair_best_worst
from judging.scoring import check_scores


@dataclass(frozen=True)
class Workbench:
    """Where a run works and what it follows."""

    store: Store
    recipe: Recipe


@dataclass(frozen=True)
class Outcome:
    """What a stage did: small enough to travel through Prefect."""

    stage: str
    key: str
    cached: bool
    rows_in: int
    rows_out: int
    drops: dict[str, int]  # reason -> rows
    seconds: float  # of work when it was built; 0.0 where another run had built it
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give the outcome as JSON values."""
        return asdict(self)


Work = Callable[[Dataset, Lock], dict[str, Any]]


def build(store: Store, step: Step, work: Work) -> Outcome:
    """Build a step's dataset unless it is complete, one process at a time.

    Args:
        store: The workspace.
        step: What to build.
        work: Writes the shards and returns facts for the manifest, `rows_in` among them.
    """
    dataset = store.dataset(step.stage, step.key)
    if dataset.manifest() is None:
        with dataset.hold() as lock:
            if dataset.manifest() is None:
                started = time.monotonic()
                facts = work(dataset, lock)
                seconds = round(time.monotonic() - started, 3)
                facts |= {"seconds": seconds, "drops": _drop_counts(dataset)}
                dataset.commit(step.version, step.parts, facts)
                return _outcome(dataset, cached=False)
    return _outcome(dataset, cached=True)


def _outcome(dataset: Dataset, *, cached: bool) -> Outcome:
    manifest = dataset.manifest()
    if manifest is None:
        raise StageError(f"{dataset.folder}: the manifest vanished while the run used it; run again")
    return Outcome(
        stage=dataset.stage,
        key=dataset.key,
        cached=cached,
        rows_in=manifest.facts["rows_in"],
        rows_out=manifest.rows.get(MAIN_TABLE, 0),
        drops=manifest.facts["drops"],
        seconds=0.0 if cached else manifest.facts["seconds"],
        facts=manifest.facts,
    )


def _drop_counts(dataset: Dataset) -> dict[str, int]:
    drops = dataset.read("drops", columns=["reason"])
    return dict(Counter(drops.column("reason").to_pylist()).most_common()) if drops is not None else {}


def build_prompts(bench: Workbench) -> Outcome:
    """Read the recipe's prompts into the store."""
    recipe = bench.recipe

    def work(dataset: Dataset, _: Lock) -> dict[str, Any]:
        tables = read_prompts(recipe.prompts, recipe.seed)
        prompts = tables.prompts if recipe.prompts.per_round else assign_rounds(tables.prompts, recipe.rounds)
        dataset.write_shard(0, {MAIN_TABLE: prompts, "drops": tables.drops})
        return {"rows_in": prompts.num_rows + tables.drops.num_rows}

    return build(bench.store, plan.plan_prompts(recipe), work)


def slice_prompts(bench: Workbench, chosen: PromptSlice) -> pa.Table:
    """Read the prompts of a round or of a split.

    Raises:
        StageError: There is none; the message says which recipe field to change.
    """
    recipe = bench.recipe
    rows = read_slice(_prompts(bench), chosen)
    wanted = recipe.prompts.per_round
    if chosen.round and (not rows.num_rows or (wanted and rows.num_rows < wanted)):
        total = read_slice(_prompts(bench), PromptSlice("train")).num_rows
        raise StageError(
            f"round {chosen.round} finds {rows.num_rows} of its {wanted or 'own'} prompts: there are {total} train "
            f"prompts for {recipe.rounds} rounds; add prompts, or lower prompts.per_round or rounds"
        )
    if not rows.num_rows:
        raise StageError(
            f"no prompt is in the {chosen.split} split: raise prompts.split.{chosen.split}_share, "
            f"or mark some with a `split` column"
        )
    return rows


def _prompts(bench: Workbench) -> Dataset:
    return bench.store.dataset("prompts", plan.plan_prompts(bench.recipe).key)


def build_candidates(bench: Workbench, chosen: PromptSlice, sampler: Sampler) -> Outcome:
    """Sample answers of one policy to a slice of the prompts."""
    recipe = bench.recipe
    step = plan.plan_candidates(plan.plan_prompts(recipe), chosen, sampler, recipe.seed)

    def work(dataset: Dataset, lock: Lock) -> dict[str, Any]:
        prompts = slice_prompts(bench, chosen)
        job = {
            "job": "sample",
            "key": step.key,
            "out": str(dataset.folder),
            "prompts": str(_prompts(bench).folder),
            "slice": chosen.to_json(),
            "policy": asdict(sampler.policy),
            "engine": sampler.engine.model_dump(mode="json"),
            "sampling": sampler.sampling.model_dump(mode="json"),
            "k": sampler.k,
            "seed": recipe.seed,
            "round": chosen.round or plan.EVALUATION_ROUND,
            "prompts_per_shard": recipe.generation.prompts_per_shard,
        }
        facts = _in_child(f"generation {chosen.title}", job, dataset, lock, engine_environment(sampler.engine))
        _check_candidates(dataset, prompts, sampler.k)
        tokens = dataset.read(columns=["n_tokens"])
        n_tokens = sum(filter(None, tokens.column("n_tokens").to_pylist())) if tokens is not None else 0
        return facts | {"rows_in": prompts.num_rows, "tokens": n_tokens}

    return build(bench.store, step, work)


def build_scores(bench: Workbench, chosen: PromptSlice, sampler: Sampler, judge: JudgeConfig) -> Outcome:
    """Score the candidates of one policy with one judge."""
    recipe = bench.recipe
    candidates = plan.plan_candidates(plan.plan_prompts(recipe), chosen, sampler, recipe.seed)
    source = bench.store.dataset("generation", candidates.key)
    step = plan.plan_scores(plan.plan_prompts(recipe), candidates, judge)

    def work(dataset: Dataset, lock: Lock) -> dict[str, Any]:
        job = {
            "job": "score",
            "key": step.key,
            "out": str(dataset.folder),
            "prompts": str(_prompts(bench).folder),
            "slice": chosen.to_json(),
            "candidates": str(source.folder),
            "judge": judge.model_dump(mode="json"),
        }
        facts = _in_child(f"judging {chosen.title} ({judge.kind})", job, dataset, lock, _threads(judge))
        scores = read_rows(dataset)
        check_scores(source.n_rows(), scores, recipe.judging.max_unscored_share)
        return facts | {"rows_in": source.n_rows(), "unscored": scores.column("score").null_count}

    return build(bench.store, step, work)


def build_pairs(bench: Workbench, chosen: PromptSlice, samplers: list[Sampler]) -> Outcome:
    """Pair the scored candidates of a round, of all its policies together."""
    recipe, store = bench.recipe, bench.store
    prompts = plan.plan_prompts(recipe)
    candidates = [plan.plan_candidates(prompts, chosen, sampler, recipe.seed) for sampler in samplers]
    scores = [plan.plan_scores(prompts, step, recipe.judging.annotator) for step in candidates]

    def work(dataset: Dataset, _: Lock) -> dict[str, Any]:
        tables = pair_best_worst(
            slice_prompts(bench, chosen),
            pa.concat_tables([read_rows(store.dataset("generation", step.key)) for step in candidates]),
            pa.concat_tables([read_rows(store.dataset("judging", step.key)) for step in scores]),
            recipe.judging.pairing,
        )
        if not tables.pairs.num_rows:
            raise StageError(explain_no_pairs(tables.drops))
        dataset.write_shard(0, {MAIN_TABLE: tables.pairs, "drops": tables.drops})
        return {"rows_in": sum(store.dataset("generation", step.key).n_rows() for step in candidates)}

    return build(store, plan.plan_pairs(recipe, prompts, candidates, scores), work)


def build_kept(bench: Workbench, pairs: Step) -> Outcome:
    """Filter the pairs of a round."""
    source = bench.store.dataset("pairing", pairs.key)

    def work(dataset: Dataset, _: Lock) -> dict[str, Any]:
        tables = filter_pairs(read_rows(source), bench.recipe.filtering.filters)
        if not tables.kept.num_rows:
            reasons = Counter(tables.drops.column("reason").to_pylist()).most_common()
            raise StageError(
                f"the filters dropped all {source.n_rows()} pairs {dict(reasons)}: loosen filtering.filters"
            )
        dataset.write_shard(0, {MAIN_TABLE: tables.kept, "drops": tables.drops})
        return {"rows_in": source.n_rows(), "funnel": [list(row) for row in tables.funnel]}

    return build(bench.store, plan.plan_filtering(bench.recipe, pairs), work)


def build_policy(
    bench: Workbench, kept: Step, round_number: int, start: PolicyFiles, reference: PolicyFiles
) -> Outcome:
    """Train the round's new policy."""
    recipe = bench.recipe
    step = plan.plan_policy(recipe, kept, round_number, start, reference)
    source = bench.store.dataset("filtering", kept.key)
    rate = plan.learning_rate(recipe, round_number)

    def work(dataset: Dataset, lock: Lock) -> dict[str, Any]:
        job = {
            "job": "train",
            "key": step.key,
            "out": str(dataset.folder),
            "pairs": str(source.folder),
            "start": asdict(start),
            "reference": asdict(reference),
            "config": recipe.training.model_dump(mode="json") | {"learning_rate": rate},
            "seed": recipe.seed,
            "generator_dtype": "float32" if recipe.generation.engine.dtype == "float32" else "bfloat16",
        }
        threads = {"OMP_NUM_THREADS": str(recipe.training.threads)}
        facts = _in_child(f"training round {round_number}", job, dataset, lock, threads)
        return facts | {"rows_in": source.n_rows()}

    return build(bench.store, step, work)


def trained_policy(bench: Workbench, step: Step, start: PolicyFiles) -> PolicyFiles:
    """Name the files of a trained policy: a folder of weights, or an adapter on the start's base."""
    folder = str(bench.store.dataset("policies", step.key).folder)
    if bench.recipe.training.lora is None:
        return PolicyFiles(folder, step.key)
    return PolicyFiles(start.model, step.key, folder, start.revision, start.trust_remote_code)


def build_logprobs(bench: Workbench, chosen: PromptSlice, sampler: Sampler, policy: PolicyFiles) -> Outcome:
    """Sum the log-probs of one policy's answers under another policy."""
    candidates = plan.plan_candidates(plan.plan_prompts(bench.recipe), chosen, sampler, bench.recipe.seed)
    source = bench.store.dataset("generation", candidates.key)

    def work(dataset: Dataset, lock: Lock) -> dict[str, Any]:
        job = {
            "job": "logprobs",
            "key": dataset.key,
            "out": str(dataset.folder),
            "prompts": str(_prompts(bench).folder),
            "slice": chosen.to_json(),
            "candidates": str(source.folder),
            "policy": asdict(policy),
        }
        threads = {"OMP_NUM_THREADS": str(bench.recipe.training.threads)}
        facts = _in_child("log-probs under the start", job, dataset, lock, threads)
        return facts | {"rows_in": source.n_rows()}

    return build(bench.store, plan.plan_logprobs(candidates, policy), work)


def _in_child(
    title: str, job: dict[str, Any], dataset: Dataset, lock: Lock, environment: dict[str, str]
) -> dict[str, Any]:
    with stage_bar(title) as on_event:
        return run_child(job, environment=environment, log=dataset.log_path, lock=lock, on_event=on_event)


def read_rows(dataset: Dataset) -> pa.Table:
    """Read a dataset that must hold rows."""
    table = dataset.read()
    if table is None:
        raise StageError(f"{dataset.folder}: no data; the stage before left nothing, see its drops")
    return table


def _threads(judge: JudgeConfig) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(getattr(judge, "threads", 1))}


def _check_candidates(dataset: Dataset, prompts: pa.Table, k: int) -> None:
    """Conservation: every prompt has k candidates or stands in the ledger.

    Raises:
        StageError: Rows are missing or there is not one candidate.
    """
    candidates = dataset.read(columns=["prompt_id"])
    drops = dataset.read("drops", columns=["id", "kind"])
    counts = Counter(candidates.column("prompt_id").to_pylist()) if candidates is not None else Counter()
    dropped = set(drops.column("id").to_pylist()) if drops is not None else set()
    asked = set(prompts.column("prompt_id").to_pylist())
    if counts.keys() | dropped != asked or counts.keys() & dropped or any(n != k for n in counts.values()):
        raise StageError(
            f"generation: {len(asked)} prompts went in, {len(counts)} have candidates and {len(dropped)} were dropped; "
            f"these do not add up, so nothing was kept as done: {dataset.folder}"
        )
    if not counts:
        raise StageError(f"generation: all {len(asked)} prompts were dropped; see {dataset.folder}/drops-*.parquet")
