"""Who meets whom: the duels played so far in, the next round's duels out.

Answers have seats 0 to k - 1; `seat` deals them out by id, so the order of rows changes nothing. A duel that no verdict
came of counts as played and says nothing. No two answers meet twice.

Swiss rounds (arXiv 2511.12796 compares them with random pairs under a budget) find the order of all, the knockout only
best and worst. Left out: the choice of duels by information gain, and skipping what follows by transitivity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from judging.asking.quoting import digest

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Duel:
    """A duel that was played.

    Attributes:
        first: Seat of one answer.
        second: Seat of the other.
        win: Share of the win that the first has, in [0, 1]; 0.5 = a tie; None = no verdict.
    """

    first: int
    second: int
    win: float | None


Rounds = Sequence[Sequence[Duel]]
Schedule = Callable[[int, Rounds], list[Pair]]
"""Number of answers and the rounds played in, the next round's pairs of seats out; none = it is over."""


def seat(candidate_ids: Sequence[str], seed: int) -> list[int]:
    """Deal out seats: give the places of the ids in the order of their seats, the same for any order of the ids."""
    return sorted(range(len(candidate_ids)), key=lambda place: digest("seat", f"{seed} {candidate_ids[place]}"))


def schedule_swiss(rounds: int) -> Schedule:
    """Give a schedule in which answers of equal or close score meet, `rounds` times each.

    Of an odd number one sits out each round, the lowest that has not yet, as if it had tied. After more than k / 2
    rounds more may sit out, as those that are left have all met.
    """

    def give_next(k: int, played: Rounds) -> list[Pair]:
        if len(played) >= rounds:
            return []
        scores, byes = _count(k, played)
        table = sorted(range(k), key=lambda one: (-scores[one], one))
        if k % 2:
            table.remove(min(reversed(table), key=lambda one: byes[one]))
        return _match(table, scores, {frozenset((duel.first, duel.second)) for past in played for duel in past})

    return give_next


def schedule_knockout(k: int, played: Rounds) -> list[Pair]:
    """Pair all, then winners with winners until the best is left and losers with losers until the worst is.

    That makes ceil(3k / 2) - 2 duels. A tie, or no verdict, goes to the lower seat among winners and to the higher one
    among losers; of an odd number the last one waits.
    """
    if not played:
        return _neighbours(list(range(k)))
    spare = [k - 1] if k % 2 else []
    winners = [_winner(duel) for duel in played[0]] + spare
    losers = [_loser(duel) for duel in played[0]] + spare
    for past in played[1:]:
        winners, losers = _knock_out(winners, past, _loser), _knock_out(losers, past, _winner)
    return _neighbours(winners) + _neighbours(losers)


def schedule_round_robin(k: int, played: Rounds) -> list[Pair]:
    """Let each meet each, in one round."""
    return [] if played else list(combinations(range(k), 2))


def _count(k: int, played: Rounds) -> tuple[list[float], list[int]]:
    """Give each seat's score, its wins above half of its duels, and how many rounds it sat out."""
    scores, byes = [0.0] * k, [len(played)] * k
    for past in played:
        for duel in past:
            win = 0.5 if duel.win is None else duel.win
            scores[duel.first] += win - 0.5
            scores[duel.second] += 0.5 - win
            byes[duel.first] -= 1
            byes[duel.second] -= 1
    return scores, byes


def _match(table: list[int], scores: list[float], met: set[frozenset[int]]) -> list[Pair]:
    """Pair a table from the top, each with the closest below that it has not met; then find room for who is left."""
    pairs: list[Pair] = []
    left: list[int] = []
    waiting = list(table)
    while waiting:
        one = waiting.pop(0)
        fresh = [other for other in waiting if frozenset((one, other)) not in met]
        if not fresh:
            left.append(one)
            continue
        other = min(fresh, key=lambda other: scores[one] - scores[other])  # of equals the first
        waiting.remove(other)
        pairs.append((one, other))
    return _make_room(pairs, left, met)


def _make_room(pairs: list[Pair], left: list[int], met: set[frozenset[int]]) -> list[Pair]:
    """Break up a pair for two who are left and have met, from the bottom of the table.

    As long as each still has k / 2 others to meet there is such a pair (the argument of Dirac's theorem): of the edges
    from the two to the pairs at least one pair has three.
    """
    while len(left) >= 2:
        one, two = left.pop(), left.pop()
        for place in reversed(range(len(pairs))):
            a, b = pairs[place]
            swaps = [((a, one), (b, two)), ((a, two), (b, one))]
            free = [swap for swap in swaps if not any(frozenset(pair) in met for pair in swap)]
            if free:
                pairs[place : place + 1] = free[0]
                break
    return pairs


def _neighbours(seats: list[int]) -> list[Pair]:
    return list(zip(seats[0::2], seats[1::2], strict=False))


def _knock_out(bracket: list[int], past: Sequence[Duel], goes: Callable[[Duel], int]) -> list[int]:
    """Take out of a bracket who went out in a duel within it; with an odd k one answer plays in both brackets."""
    out = {goes(duel) for duel in past if duel.first in bracket and duel.second in bracket}
    return [seat for seat in bracket if seat not in out]


def _winner(duel: Duel) -> int:
    win = 0.5 if duel.win is None else duel.win
    return duel.first if win > 0.5 or (win == 0.5 and duel.first < duel.second) else duel.second


def _loser(duel: Duel) -> int:
    return duel.second if _winner(duel) == duel.first else duel.first
