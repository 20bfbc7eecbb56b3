"""Gold labels and families held against what a judge said: lines of the audit."""

from dataclasses import dataclass, field

import numpy as np

from evaluation.audit_lines import FAMILIES, GOLD, Bound, Line, hold, not_measured
from evaluation.audit_plots import Bin
from flows.audit import Judged
from flows.audit_findings import Resampling
from judging.audit.audit_agreement import (
    Calibration,
    GoldPairs,
    measure_agreement,
    measure_calibration,
)
from judging.audit.audit_measures import own_gap, own_preferred_wrongly, wins
from judging.audit.audit_probes import ANSWERS

# Why each bound is where it is: docs/audit.md.
_LEAST_KAPPA = 0.4
_MOST_CALIBRATION_ERROR = 0.1
_MOST_OWN_ERRORS = 0.05
_MOST_OWN_GAP_SD = 0.2


@dataclass(frozen=True)
class Families:
    """Who is related to whom.

    Attributes:
        by_policy: Family of each policy that has one.
        judge: The judge's own.
    """

    by_policy: dict[str, str]
    judge: str


@dataclass(frozen=True)
class GoldFindings:
    """What gold labels say about a judge.

    Attributes:
        lines: The lines of the audit.
        bins: Reliability.
        tables: Pairs by judge and gold.
    """

    lines: list[Line]
    bins: list[Bin] = field(default_factory=list)
    tables: dict[str, list[list[float]]] = field(default_factory=dict)


def compare_with_gold(judged: Judged, gold: GoldPairs, sources: dict[int, str], resampling: Resampling) -> GoldFindings:
    """Compare the judge's preferences with gold labels.

    Args:
        judged: What the judge said.
        gold: Labels of pairs of real answers, as rows of `judged.rows(ANSWERS)`.
        sources: Source of each prompt, by its number.
        resampling: How intervals are made.
    """
    rows = judged.rows(ANSWERS)
    first, second = gold.pairs.first, gold.pairs.second
    score, length, prompt = judged.values[rows], judged.lengths(rows), judged.numbers(rows)[first]
    if not len(first):
        return GoldFindings([not_measured(GOLD, "agreement", "share", "gold labels no pair of these answers")])
    said, longer = wins(score[first], score[second]), wins(length[first], length[second])
    kept = measure_agreement(prompt, said, gold.label, keep_ties=True)
    dropped = measure_agreement(prompt, said, gold.label, keep_ties=False)
    baseline = measure_agreement(prompt, longer, gold.label, keep_ties=False).agreement.value
    why = f"of {int(dropped.table.sum()):,} pairs"
    if np.isfinite(baseline):
        why += f"; preferring the longer answer agrees in {100 * baseline:.1f} %"
    n_unscored = int(np.isnan(said).sum())
    all_pairs = f"of {int(kept.table.sum()):,} pairs" + (f", {n_unscored:,} more unscored" if n_unscored else "")
    above_baseline = Bound(low=max(0.5, baseline) if np.isfinite(baseline) else 0.5)
    interval, chance = resampling.interval, "agreement beyond chance"
    lines = [
        hold(GOLD, "agreement, ties dropped", "share", interval(dropped.agreement), above_baseline, why),
        hold(GOLD, "agreement, ties kept", "share", interval(kept.agreement), None, all_pairs),
        hold(GOLD, "kappa, ties dropped", "number", interval(dropped.kappa), Bound(low=_LEAST_KAPPA), chance),
        hold(GOLD, "kappa, ties kept", "number", interval(kept.kappa), None, chance),
    ]
    lines += _by_source(prompt, said, gold.label, sources, resampling)
    found = measure_calibration(prompt, score[first] - score[second], gold.label)
    lines.append(_calibration_line(found, resampling))
    tables = {"ties kept": kept.table.tolist(), "ties dropped": dropped.table.tolist()}
    return GoldFindings(lines, _bins(found), tables)


def _by_source(
    prompt: np.ndarray, said: np.ndarray, label: np.ndarray, sources: dict[int, str], resampling: Resampling
) -> list[Line]:
    """Give agreement and kappa of each source of prompts, where there is more than one."""
    source = np.array([sources[number] for number in prompt])
    lines = []
    for name in np.unique(source) if len(np.unique(source)) > 1 else []:
        here = source == name
        found = measure_agreement(prompt[here], said[here], label[here], keep_ties=False)
        why = f"kappa {found.kappa.value:.3f}, {int(found.table.sum()):,} pairs, ties dropped"
        lines.append(hold(GOLD, f"source {name}", "share", resampling.interval(found.agreement), None, why))
    return lines


def _calibration_line(found: Calibration | None, resampling: Resampling) -> Line:
    name = "expected calibration error"
    if found is None:
        return not_measured(GOLD, name, "number", "wants five prompts with gold labels, and scores that differ")
    bound = Bound(high=_MOST_CALIBRATION_ERROR)
    why = f"of P(a beats b) = sigmoid({found.slope:.3g} * score gap)"
    return hold(GOLD, name, "number", resampling.interval(found.error), bound, why)


def _bins(found: Calibration | None) -> list[Bin]:
    if found is None:
        return []
    return [
        Bin(*map(float, one), n=int(n)) for *one, n in zip(found.confidence, found.right, found.counts, strict=True)
    ]


def find_self_preference(
    judged: Judged, gold: GoldPairs | None, families: Families | None, resampling: Resampling
) -> list[Line]:
    """Measure whether the judge prefers answers of its own family.

    Raises:
        ValueError: A policy that is given a family wrote no answer.
    """
    name, rows = "own family", judged.rows(ANSWERS)
    policies = judged.layout.candidates["policy"].take(rows).to_pylist()
    if families is None:
        return [not_measured(FAMILIES, name, "points", "name families with --family and --judge-family")]
    if unknown := families.by_policy.keys() - set(policies):
        known = ", ".join(sorted({str(policy) for policy in policies}))
        raise ValueError(f"--family names {', '.join(sorted(unknown))}, which wrote no answer; these did: {known}")
    has_family = np.array([policy in families.by_policy for policy in policies])
    own = np.array([families.by_policy.get(policy) == families.judge for policy in policies])
    prompt, score = judged.numbers(rows), np.where(has_family, judged.values[rows], np.nan)
    if gold is not None:
        label = np.sign(gold.label - 0.5)
        interval = resampling.interval(own_preferred_wrongly(prompt, score, label, own, gold.pairs))
        if interval is not None:
            why = "its own wrongly preferred, more often than another wrongly preferred to its own"
            return [hold(FAMILIES, name, "points", interval, Bound(high=_MOST_OWN_ERRORS), why)]
    interval = resampling.interval(own_gap(prompt, score, own))
    if interval is None:
        return [not_measured(FAMILIES, name, "sd", "no prompt has scored answers of its family and of another")]
    why = "score gap to other families; only gold labels tell better answers from self-preference"
    return [hold(FAMILIES, name, "sd", interval, Bound(high=_MOST_OWN_GAP_SD), why)]
