"""An audit from its material to its report: choose, lay out, judge, measure, write."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import json
import logging
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # what a column sums up to

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.audit_lines import NULLS, Line, not_measured
from evaluation.audit_plots import Cloud
from evaluation.audit_report import AuditReport, Probing, write_audit
from flows import alone
from flows.audit import Judged, ask, choose_prompts, lay_out
from flows.audit_findings import (
    Resampling,
    find_injected,
    find_length,
    find_nulls,
    find_padded,
    find_repetition,
    find_running,
)
from flows.audit_inputs import Material
from flows.audit_labels import Families, GoldFindings, compare_with_gold, find_self_preference
from flows.audit_position import find_position
from flows.judges import cast_judge, is_comparing, members
from flows.keys import answer_fields
from flows.tables import write_table, write_text
from judging.audit.audit_measures import standardise_within
from judging.audit.audit_probes import ANSWERS
from judging.config import JudgeConfig, RecordedConfig

_N_BOOTSTRAP = 2000
_CANNOT_ASK = "recorded scores can't be asked about other answers"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Audit:
    """What to audit.

    Attributes:
        recipe: The recipe's name.
        field: The judge's place in it.
        judge: The judge.
        material: Answers, prompts, gold labels.
        families: Who is related to whom; None = not named.
        limit: Prompts at most.
        seed: Draws prompts and sources of probes, and resamples.
        max_unscored: Share of the answers that may stay unscored.
    """

    recipe: str
    field: str
    judge: JudgeConfig
    material: Material
    families: Families | None
    limit: int
    seed: int
    max_unscored: float


def run_audit(audit: Audit, output: Path) -> AuditReport:
    """Audit a judge and write audit.html, audit.json and asked.parquet into a folder; an interrupted one goes on."""
    material, judge = audit.material, audit.judge
    chosen = choose_prompts(material.candidates, audit.limit, audit.seed, 2 if is_comparing(judge) else 1)
    how = "none" if isinstance(judge, RecordedConfig) else "apart" if is_comparing(judge) else "together"
    best = str(getattr(judge, "max_score", 5))
    layout = lay_out(material.prompts, material.candidates, chosen, probes=how, seed=audit.seed, best=best)
    _log.info("audit: %d answers to judge for %d prompts", layout.candidates.num_rows, len(chosen))
    parts = {
        "judge": [
            answer_fields(judge),
            *(cast_judge(one, {}, audit.field).identity for one in members(judge)),
        ],
        "asked": [one.candidate_id for one in layout.asked],
        "files": material.files,
    }
    started = time.monotonic()
    with alone.partial_output(output, parts) as folder:
        judged = ask(folder, layout, judge, audit.field, output.with_name(f"{output.name}.replies"))
        report = _report(audit, judged, time.monotonic() - started)
        output.mkdir(parents=True, exist_ok=True)
        write_table(output / "asked.parquet", _what_was_asked(judged))
        write_audit(report, output / "audit.html")
        write_text(output / "audit.json", json.dumps(report.to_json(), indent=1) + "\n")
    return report


def _report(audit: Audit, judged: Judged, seconds: float) -> AuditReport:
    resampling = Resampling(_N_BOOTSTRAP, audit.seed)
    rows = judged.rows(ANSWERS)
    prompt, once = judged.numbers(rows), judged.values[rows]
    ids = [judged.layout.asked[row].candidate_id for row in rows]
    gold = audit.material.gold
    pairs = None if gold is None else gold.pairs(ids, prompt)
    gold_scores = np.array([gold.scores.get(one, np.nan) for one in ids]) if gold and gold.scores else None
    found = GoldFindings([])
    if pairs is not None:
        found = compare_with_gold(judged, pairs, _sources(audit, judged), resampling)
    lines = [
        *find_position(judged, audit.judge, resampling),
        *_find_asked(audit, judged, resampling),
        *find_length(judged, gold_scores, resampling),
        *find_self_preference(judged, pairs, audit.families, resampling),
        *found.lines,
        *find_running(judged, audit.max_unscored, resampling),
    ]
    z = standardise_within(prompt, once)
    return AuditReport(
        probing=_probing(audit, judged, seconds),
        lines=lines,
        lengths=_cloud(standardise_within(prompt, judged.lengths(rows)), z),
        repeats=_cloud(z, standardise_within(prompt, judged.again())),
        bins=found.bins,
        tables=found.tables,
    )


def _find_asked(audit: Audit, judged: Judged, resampling: Resampling) -> list[Line]:
    """Measure what more than the real answers had to be judged for."""
    if isinstance(audit.judge, RecordedConfig):
        return [not_measured(NULLS, "probes and repetition", "share", _CANNOT_ASK)]
    return [
        *find_repetition(judged, resampling),
        *find_nulls(judged, resampling),
        *find_injected(judged, resampling),
        *find_padded(judged, resampling),
    ]


def _sources(audit: Audit, judged: Judged) -> dict[int, str]:
    prompts = audit.material.prompts
    by_id = dict(zip(prompts["prompt_id"].to_pylist(), prompts["source"].to_pylist(), strict=True))
    return {number: str(by_id[prompt_id]) for number, prompt_id in enumerate(judged.layout.prompt_ids)}


def _probing(audit: Audit, judged: Judged, seconds: float) -> Probing:
    scores = judged.scores
    reasons = Counter(filter(None, scores["reason"].to_pylist()))
    return Probing(
        recipe=audit.recipe,
        field=audit.field,
        judge=_describe(audit.judge),
        seed=audit.seed,
        n_prompts=len(judged.layout.prompt_ids),
        n_answers=len(judged.rows(ANSWERS)),
        n_judged=scores.num_rows,
        n_unscored=scores["score"].null_count,
        reasons=dict(reasons.most_common()),
        tokens_in=_total(scores, "n_tokens_in"),
        tokens_out=_total(scores, "n_tokens_out"),
        seconds=round(seconds, 2),
        cost=_total(scores, "cost"),
    )


def _describe(judge: JudgeConfig) -> str:
    engine = getattr(judge, "engine", None)
    for place in (judge, engine):
        for name in ("model", "function", "path"):
            if value := getattr(place, name, None):
                return f"{judge.kind} {_shorten(str(value))}"
    return judge.kind


def _shorten(place: str) -> str:
    """Write a path below this folder as people would."""
    path = Path(place)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else place


def _total(scores: pa.Table, column: str) -> Any:
    """Add up a column; None where nothing is known."""
    return pc.sum(scores[column]).as_py()


def _cloud(x: np.ndarray, y: np.ndarray) -> Cloud:
    known = ~(np.isnan(x) | np.isnan(y))
    return Cloud(x[known].tolist(), y[known].tolist())


def _what_was_asked(judged: Judged) -> pa.Table:
    """Lay everything that was judged side by side with what was said, for people who want to look."""
    asked = judged.layout.asked
    columns = {
        "prompt_id": [judged.layout.prompt_ids[one.prompt] for one in asked],
        "candidate_id": [one.candidate_id for one in asked],
        "kind": [one.entry.kind for one in asked],
        "name": [one.entry.name for one in asked],
        "group": [one.entry.group for one in asked],
        "source_id": pa.array([one.entry.source_id for one in asked], pa.string()),
        "text": [one.entry.text for one in asked],
    }
    said = ("score", "reason", "uncertainty", "rationale", "raw_reply", "n_tokens_in", "n_tokens_out", "cost")
    return pa.table(columns | {name: judged.scores[name] for name in said})
