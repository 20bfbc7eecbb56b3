"""Fill the run's report from the store and write its page into the run's folder."""

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar  # JSON values

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from evaluation.bootstrap import Interval
from evaluation.gate import Decision
from evaluation.kl import Kl
from evaluation.report import write_report as write_page
from evaluation.run_report import Final, Funnel, JudgeFigures, RoundReport, RunReport
from evaluation.samples import drop_counts, metric_points, sample_answers, sample_pairs
from flows.plan import plan_prompts
from flows.recipe import Recipe
from flows.rounds import run_name
from flows.stages import read_rows
from flows.store import Dataset, Store
from generation.schema import DROPS

_SAMPLES = 6
Value = TypeVar("Value")
Json = dict[str, Any]


def write_report(store: Store, recipe: Recipe, results: list[Json], summary: Json) -> Path:
    """Write the page of a run, unless it stands already for these very results.

    Args:
        store: The workspace.
        recipe: What was run.
        results: What each round returned (`flows.self_improve.run_round`).
        summary: `flows.rounds.run_summary` of them.

    Returns:
        Path of the page.
    """
    folder = store.run_folder(run_name(recipe))
    page, mark = folder / "report.html", folder / "report.keys"
    keys = " ".join(result["stages"]["evaluation"][-1]["key"] for result in results)
    if not (page.exists() and mark.exists() and mark.read_text() == keys):
        write_page(fill_report(store, recipe, results, summary), page)
        mark.write_text(keys)
    return page


def fill_report(store: Store, recipe: Recipe, results: list[Json], summary: Json) -> RunReport:
    """Collect what the page shows."""
    rounds = [_round(store, recipe, result) for result in results]
    last = summary["final"]["round"]
    final = next((one for one in results if one["round"] == last), None)
    return RunReport(
        run=run_name(recipe),
        recipe=recipe.name,
        seed=recipe.seed,
        rounds=rounds,
        final=Final(
            policy=final["policy"]["key"] if final else recipe.policy.model,
            round=last,
            over_start=_read(JudgeFigures, final["evaluation"]["start"]) if final else None,
        ),
    )


def _round(store: Store, recipe: Recipe, result: Json) -> RoundReport:
    facts, stages = result["evaluation"], result["stages"]
    verdicts = read_rows(_dataset(store, stages["evaluation"][-1]))
    judged = verdicts.filter(pc.field("judge") == recipe.evaluation.judge.kind)
    prompts = read_rows(store.dataset("prompts", plan_prompts(recipe).key))
    return RoundReport(
        round=result["round"],
        policy=result["policy"]["key"],
        decision=_read(Decision, facts["decision"]),
        judge=_read(JudgeFigures, facts["judge"]),
        annotator=_read(JudgeFigures, facts["annotator"]),
        win_rate_over_start=_read(Interval, facts["start"]["win_rate"]),
        kl=_read(Kl, facts["kl"]),
        funnel=_funnel(stages),
        drops=drop_counts(_drops(store, stages)),
        pairs=sample_pairs(read_rows(_dataset(store, stages["filtering"][0])), _SAMPLES, recipe.seed),
        answers=sample_answers(judged, prompts, _SAMPLES, recipe.seed),
        metrics=metric_points(read_rows(_dataset(store, stages["training"][0]))),
        seconds={name: sum(one["facts"]["seconds"] for one in outcomes) for name, outcomes in stages.items()},
    )


def _funnel(stages: dict[str, list[Json]]) -> Funnel:
    *scores, pairs = stages["judging"]
    return Funnel(
        prompts=stages["generation"][0]["rows_in"],
        candidates=sum(one["rows_out"] for one in stages["generation"]),
        scored=sum(one["rows_out"] - one["facts"]["unscored"] for one in scores),
        pairs=pairs["rows_out"],
        kept=stages["filtering"][0]["rows_out"],
        trained=stages["training"][0]["facts"]["pairs_trained"],
    )


def _drops(store: Store, stages: dict[str, list[Json]]) -> pa.Table:
    """Collect the round's ledger; evaluation's own drops are no training rows."""
    makers = [one for name in ("generation", "judging", "filtering", "training") for one in stages[name]]
    tables = [_dataset(store, one).read("drops") for one in makers]
    return pa.concat_tables([table for table in tables if table is not None] or [DROPS.empty_table()])


def _dataset(store: Store, outcome: Json) -> Dataset:
    return store.dataset(outcome["stage"], outcome["key"])


def _read(kind: type[Value], values: Json) -> Value:
    """Make a figures object of JSON values, leaving out what it does not have."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return TypeAdapter(kind).validate_python({name: value for name, value in values.items() if name in names})
