"""What a judge makes of the place in which it sees an answer: lines of the audit."""

import numpy as np

from evaluation.audit_lines import POSITION, Bound, Line, hold, not_measured
from flows.audit import Judged
from flows.audit_findings import Resampling
from judging.audit.audit_duels import read_duels
from judging.audit.audit_measures import measure_position
from judging.audit.audit_probes import AGAIN, ANSWERS
from judging.config import JudgeConfig

# Why each bound is where it is: docs/audit.md.
_LEAST_CONSISTENT = 0.65
_FIRST_PREFERRED = Bound(0.45, 0.55)
_NOT_APPLICABLE = {
    "listwise": "it sees all answers of a prompt in one shuffled list; see repetition",
    "panel": "a panel joins scores; audit its members one by one",
    "recorded": "scores from elsewhere say nothing of order",
}


def find_position(judged: Judged, judge: JudgeConfig, resampling: Resampling) -> list[Line]:
    """Measure consistency over both orders, and how often the answer shown first wins."""
    if judge.kind != "pairwise":
        why = _NOT_APPLICABLE.get(judge.kind, "it sees one answer at a time, so there is no order; see repetition")
        return [not_measured(POSITION, "consistent in both orders", "share", why)]
    asked, replies = judged.layout.asked, judged.scores["raw_reply"].to_pylist()
    rows = [*judged.rows(ANSWERS), *judged.rows(AGAIN)]  # among probes an order may decide what should not be close
    duels = read_duels((asked[row].candidate_id, replies[row]) for row in rows)
    numbers = {asked[row].candidate_id: asked[row].prompt for row in rows}
    prompt = np.array([numbers[one] for one in duels.ids], dtype=int)
    found = measure_position(prompt, duels.first_wins, duels.first_wins_swapped)
    lost = int(np.isnan(duels.first_wins + duels.first_wins_swapped).sum())
    why = f"{len(duels.ids):,} duels of real answers" + (f", {lost:,} without a verdict in both orders" if lost else "")
    consistent, first = resampling.interval(found.consistent), resampling.interval(found.first_preferred)
    if consistent is None or first is None:
        return [not_measured(POSITION, "consistent in both orders", "share", f"no verdicts: {why}")]
    return [
        hold(POSITION, "consistent in both orders", "share", consistent, Bound(low=_LEAST_CONSISTENT), why),
        hold(
            POSITION, "first preferred", "share", first, _FIRST_PREFERRED, "ties half; 50 % where the order is nothing"
        ),
    ]
