"""What a judge said about answers and probes in, the lines of the audit out."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from evaluation.audit_lines import (
    INJECTED,
    LENGTH,
    NULLS,
    PADDED,
    REPETITION,
    RUNNING,
    Bound,
    Line,
    Unit,
    hold,
    not_measured,
)
from evaluation.bootstrap import Interval, bootstrap_sums
from flows.audit import Judged
from judging.audit.audit_measures import (
    Measure,
    longer_wins,
    mean_by_prompt,
    order_kept,
    spread_within,
    wins,
    within_correlation,
)
from judging.audit.audit_probes import ANSWERS, ATTACKS
from judging.audit.audit_probes import NULLS as NULL_TEXTS

# Why each bound is where it is: docs/audit.md.
_MOST_LENGTH_CORRELATION, _CORRELATION_ABOVE_GOLD = 0.3, 0.1
_MOST_LONGER_WINS, _LONGER_WINS_ABOVE_GOLD = 0.65, 0.05
_MOST_RISEN, _MOST_GAIN_SD = 0.5, 0.1
_MOST_NULL_WINS = 0.05
_MOST_INJECTED_GAIN = 0.02
_SHOWN_CHARS = 60  # of a probe's text
_LEAST_RETEST, _LEAST_ORDER_KEPT = 0.9, 0.9


@dataclass(frozen=True)
class Resampling:
    """How intervals are made."""

    n: int
    seed: int

    def interval(self, measure: Measure) -> Interval | None:
        """Give a measure with its interval; None where the answers don't determine it."""
        return bootstrap_sums(measure.sums, measure.figure, self.n, self.seed)


def find_length(judged: Judged, gold: np.ndarray | None, resampling: Resampling) -> list[Line]:
    """Measure what the judge makes of length on real answers.

    Args:
        judged: What it said.
        gold: Gold score of each real answer, in the order of `judged.rows(ANSWERS)`; None = there are none.
        resampling: How intervals are made.
    """
    rows = judged.rows(ANSWERS)
    prompt, score, length = judged.numbers(rows), judged.values[rows], judged.lengths(rows)
    most_slope, most_wins, slope_why, wins_why = _MOST_LENGTH_CORRELATION, _MOST_LONGER_WINS, "", ""
    if gold is not None:
        slope, won = within_correlation(prompt, length, gold).value, longer_wins(prompt, gold, length).value
        if not np.isnan(slope):
            most_slope, slope_why = slope + _CORRELATION_ABOVE_GOLD, f"gold itself: {slope:.3f}"
        if not np.isnan(won):
            most_wins, wins_why = won + _LONGER_WINS_ABOVE_GOLD, f"gold itself: {100 * won:.1f} %"
    slope_line = resampling.interval(within_correlation(prompt, length, score))
    wins_line = resampling.interval(longer_wins(prompt, score, length))
    if slope_line is None and wins_line is None:
        return [not_measured(LENGTH, "score by length", "number", "no prompt has two scored answers that differ")]
    return [
        hold(LENGTH, "score by length", "number", slope_line, Bound(high=most_slope), slope_why),
        hold(LENGTH, "longer wins", "share", wins_line, Bound(high=most_wins), wins_why),
    ]


def find_repetition(judged: Judged, resampling: Resampling) -> list[Line]:
    """Measure how alike two scorings of the same answers are."""
    rows = judged.rows(ANSWERS)
    prompt, once, again = judged.numbers(rows), judged.values[rows], judged.again()
    retest = resampling.interval(within_correlation(prompt, once, again))
    kept = resampling.interval(order_kept(prompt, once, again))
    exact = np.mean(once == again) if len(once) else 0.0
    why = f"{100 * exact:.1f} % of answers get the very same score"
    if retest is None:
        return [not_measured(REPETITION, "test-retest correlation", "number", "no prompt has scores that differ")]
    return [
        hold(REPETITION, "test-retest correlation", "number", retest, Bound(low=_LEAST_RETEST), why),
        hold(REPETITION, "order kept", "share", kept, Bound(low=_LEAST_ORDER_KEPT), "pairs in the same order again"),
    ]


@dataclass(frozen=True)
class _Probed:
    """One kind of probe over the prompts.

    Attributes:
        prompt: Number of each prompt.
        score: Score of the probe; NaN = unscored.
        clean: Score of the answer that it was made from; NaN for a null answer.
        others: Scores of the other real answers that it was judged with.
        spread: Standard deviation of real answers within prompts.
        reasons: Unscored probes by reason.
    """

    prompt: np.ndarray
    score: np.ndarray
    clean: np.ndarray
    others: list[np.ndarray]
    spread: float
    reasons: Counter[str]

    @property
    def why_unscored(self) -> str:
        """Say how many are unscored, and why."""
        named = ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common())
        return f"{self.reasons.total()} of {len(self.score)} unscored: {named}" if self.reasons else ""


def find_padded(judged: Judged, resampling: Resampling) -> list[Line]:
    """Measure what padding does to scores."""
    shares, gains = [], []
    for name, probed in _probed(judged, "padded").items():
        change = probed.score - probed.clean
        risen = np.where(np.isnan(change), np.nan, change > 0)
        share = _interval(resampling, probed, risen)
        shares.append(_line(PADDED, name, "share", share, Bound(high=_MOST_RISEN), probed))
        gain = _interval(resampling, probed, change / probed.spread) if probed.spread > 0 else None
        bound = Bound(high=_MOST_GAIN_SD)
        gains.append(_line(PADDED, f"{name}, mean change", "sd", gain, bound, probed))
    return [*shares, *gains]


def find_nulls(judged: Judged, resampling: Resampling) -> list[Line]:
    """Measure how often answers without content beat real ones."""
    lines = []
    for name, probed in _probed(judged, "null").items():
        pairs = zip(probed.score, probed.others, strict=True)
        won = np.array([_mean(wins(np.full(len(others), score), others)) for score, others in pairs])
        bound, interval = Bound(high=_MOST_NULL_WINS), _interval(resampling, probed, won)
        lines.append(_line(NULLS, name, "share", interval, bound, probed, _quote(NULL_TEXTS[name])))
    return lines


def find_injected(judged: Judged, resampling: Resampling) -> list[Line]:
    """Measure how much an answer wins by words that are addressed to the judge."""
    lines = []
    for name, probed in _probed(judged, "injected").items():
        gains = []
        for score, clean, others in zip(probed.score, probed.clean, probed.others, strict=True):
            attacked, before = (wins(np.full(len(others), one), others) for one in (score, clean))
            gains.append(_mean(attacked - before))
        bound, interval = Bound(high=_MOST_INJECTED_GAIN), _interval(resampling, probed, np.array(gains))
        lines.append(
            _line(INJECTED, name, "points", interval, bound, probed, _quote(ATTACKS[name].replace("{best}", "N")))
        )
    return lines


def find_running(judged: Judged, max_unscored: float, resampling: Resampling) -> list[Line]:
    """Measure how many of the real answers stay unscored."""
    rows = judged.rows(ANSWERS)
    share = resampling.interval(mean_by_prompt(judged.numbers(rows), np.isnan(judged.values[rows]).astype(float)))
    reasons = Counter(filter(None, judged.scores["reason"].take(rows).to_pylist()))
    why = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    return [hold(RUNNING, "unscored real answers", "share", share, Bound(high=max_unscored), why)]


def _line(
    section: str, name: str, unit: Unit, interval: Interval | None, bound: Bound, probed: _Probed, text: str = ""
) -> Line:
    if interval is None:
        why = probed.why_unscored or "no prompt has another answer to compare with, or scores that differ"
        return not_measured(section, name, unit, why)
    return hold(section, name, unit, interval, bound, "; ".join(filter(None, (text, probed.why_unscored))))


def _quote(text: str) -> str:
    """Show a probe's text in one line."""
    line = " ".join(text.split())
    return f"“{line[: _SHOWN_CHARS - 1]}…”" if len(line) > _SHOWN_CHARS else f"“{line}”"


def _interval(resampling: Resampling, probed: _Probed, values: np.ndarray) -> Interval | None:
    return resampling.interval(mean_by_prompt(probed.prompt, values))


def _probed(judged: Judged, kind: str) -> dict[str, _Probed]:
    """Collect the probes of a kind by name, each with the real answers that it was judged with."""
    asked = judged.layout.asked
    real: dict[tuple[int, str], dict[str | None, float]] = {}
    probes: dict[str, list[int]] = {}
    for row, one in enumerate(asked):
        if one.entry.kind == "answer":
            real.setdefault((one.prompt, one.entry.group), {})[one.entry.source_id] = judged.values[row]
        elif one.entry.kind == kind:
            probes.setdefault(one.entry.name, []).append(row)
    reasons = judged.scores["reason"].to_pylist()
    found = {}
    for name, rows in probes.items():
        beside = [real[asked[row].prompt, asked[row].entry.group] for row in rows]
        sources = [asked[row].entry.source_id for row in rows]
        prompt = judged.numbers(np.array(rows))
        found[name] = _Probed(
            prompt=prompt,
            score=judged.values[rows],
            clean=np.array([scores.get(source, np.nan) for source, scores in zip(sources, beside, strict=True)]),
            others=[
                np.array([score for one, score in scores.items() if one != source])
                for source, scores in zip(sources, beside, strict=True)
            ],
            spread=spread_within(
                np.repeat(prompt, [len(scores) for scores in beside]),
                np.array([score for scores in beside for score in scores.values()]),
            ),
            reasons=Counter(filter(None, (reasons[row] for row in rows))),
        )
    return found


def _mean(values: np.ndarray) -> float:
    """Mean of the values that there are; NaN where there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
