"""What a judge of pairs keeps of its duels in, the two orders of each duel out."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Duels:
    """Duels that were asked in both orders.

    Attributes:
        ids: Candidate ids of answer one of each duel.
        first_wins: Share of the win that answer one has where it is shown first, in [0, 1]; NaN = no verdict.
        first_wins_swapped: Share that answer two has where it is shown first.
    """

    ids: list[str]
    first_wins: np.ndarray
    first_wins_swapped: np.ndarray


def read_duels(records: Iterable[tuple[str, str | None]]) -> Duels:
    """Read the duels from the raw replies of `judging.pairwise`; every duel stands in both answers' replies.

    Args:
        records: Candidate id and raw reply: a JSON list of objects with `against`, `order` (first or second: where this
            answer stood) and `win` (of this answer; null = no verdict). None = the answer fought no duel.
    """
    shown: dict[tuple[str, str], float] = {}
    for candidate_id, record in records:
        for duel in json.loads(record or "[]"):
            win = float("nan") if duel["win"] is None else float(duel["win"])
            if duel["order"] == "first":
                shown[candidate_id, duel["against"]] = win
            else:
                shown[duel["against"], candidate_id] = 1 - win
    pairs = [(one, two) for one, two in shown if one < two and (two, one) in shown]
    return Duels(
        [one for one, _ in pairs],
        np.array([shown[one, two] for one, two in pairs], dtype=float),
        np.array([shown[two, one] for one, two in pairs], dtype=float),
    )
