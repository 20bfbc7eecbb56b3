"""All duels of a prompt's answers in, one verdict on each answer out.

A score is the log of a Bradley-Terry strength, mean 0 within the prompt, so scores of different prompts do not compare;
its uncertainty is the fit's standard error. A duel without a verdict is left out of the fit, and an answer that has no
other is unscored.
"""

import json
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from judging.asking.chat import Question, Reply
from judging.asking.quoting import mend_halves
from judging.asking.transcript import sum_known
from judging.judge import Verdict
from judging.ranking.bradley_terry import find_standard_errors, fit_strengths
from judging.ranking.schedules import Duel
from judging.reading.pair_verdict import PairVerdict

_DIGITS = 6  # of a score: answers with the same record tie, though the fit ends within rounding
_UNREAD = PairVerdict(None, "unread")


@dataclass(slots=True)
class Showing:
    """Two answers as they were shown once, and what came of it.

    Attributes:
        a: Seat of the answer that was A; the tokens are charged to it (the other order is charged to the other).
        b: Seat of the answer that was B.
        calls: Questions with their replies: one, or rationale and verdict.
        verdict: Whether A won, or why that is not known.
    """

    a: int
    b: int
    calls: list[tuple[Question, Reply]] = field(default_factory=list)
    verdict: PairVerdict = _UNREAD

    @property
    def text(self) -> str:
        """What was said, the rationale included."""
        return "\n\n".join(choice.text for _, reply in self.calls for choice in reply.choices)


@dataclass(frozen=True, slots=True)
class Tournament:
    """All that is known of one prompt's answers, by seat."""

    candidate_ids: list[str]
    duels: list[Duel]
    showings: list[Showing]


def conclude(tournament: Tournament, prior: float) -> list[Verdict]:
    """Give the verdicts by seat.

    Args:
        tournament: The duels.
        prior: Wins both ways that each pair is given in the fit.
    """
    k = len(tournament.candidate_ids)
    wins = np.zeros((k, k))
    for duel in tournament.duels:
        if duel.win is not None:
            wins[duel.first, duel.second], wins[duel.second, duel.first] = duel.win, 1 - duel.win
    compared = np.flatnonzero((wins + wins.T).any(axis=1))
    verdicts = [_leave_unscored(one, tournament) for one in range(k)]
    if len(compared):
        among = wins[np.ix_(compared, compared)]
        logs = fit_strengths(among, prior)
        errors = find_standard_errors(among, logs, prior)
        for one, log, error in zip(compared.tolist(), logs.tolist(), errors.tolist(), strict=True):
            aspects = _describe(one, tournament, wins)
            score = round(log, _DIGITS) + 0.0  # the sum takes the sign off a zero
            verdicts[one] = replace(
                verdicts[one], score=score, reason=None, aspects=aspects, uncertainty=round(error, _DIGITS)
            )
    return verdicts


def _leave_unscored(one: int, tournament: Tournament) -> Verdict:
    mine = [showing for showing in tournament.showings if one in (showing.a, showing.b)]
    charged = [reply for showing in mine if showing.a == one for _, reply in showing.calls]
    return Verdict(
        None,
        _find_reason(mine),
        raw_reply=_write_record(one, mine, tournament) if mine else None,
        n_tokens_in=sum_known([reply.n_tokens_in for reply in charged]),
        n_tokens_out=sum_known([reply.n_tokens_out for reply in charged]),
        cost=sum_known([reply.cost for reply in charged]),
    )


def _find_reason(mine: list[Showing]) -> str:
    """Give the most frequent reason; of equally frequent ones the first by name."""
    reasons = Counter(one.verdict.reason for one in mine if one.verdict.reason is not None)
    return min(reasons, key=lambda reason: (-reasons[reason], reason)) if reasons else "no_duel"


def _describe(one: int, tournament: Tournament, wins: np.ndarray) -> dict[str, float]:
    """Give an answer's wins, its duels with a verdict, and in which share of those asked both orders agreed."""
    aspects = {"wins": float(wins[one].sum()), "duels": float((wins[one] + wins[:, one]).sum().round())}
    verdicts = {(showing.a, showing.b): showing.verdict.win for showing in tournament.showings}
    agreed = []
    for (a, b), as_a in verdicts.items():
        as_b = verdicts[b, a]
        if a == one and as_a is not None and as_b is not None:
            agreed.append(np.sign(as_a - 0.5) == np.sign(0.5 - as_b))
    return aspects | ({"consistency": float(np.mean(agreed))} if agreed else {})


def _write_record(one: int, mine: list[Showing], tournament: Tournament) -> str:
    """Write an answer's duels, each order on its own, as JSON: who the other was, where it stood, `win` of this one."""
    record = []
    for showing in mine:
        is_first = showing.a == one
        win, reason = showing.verdict.win, showing.verdict.reason
        record.append({
            "against": tournament.candidate_ids[showing.b if is_first else showing.a],
            "order": "first" if is_first else "second",
            "win": win if win is None or is_first else 1 - win,
            "reason": reason,
            "reply": showing.text,
        })  # fmt: skip
    return mend_halves(json.dumps(record, ensure_ascii=False))
