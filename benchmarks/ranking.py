"""Ranking by duels: the Bradley-Terry fixture, and what each schedule finds for its calls, on simulated answers.

Each of 4,000 prompts has k = 8 answers whose true qualities are drawn from a standard normal; all designs see the same
ones. A pointwise judge sees quality plus noise of standard deviation 1 (expected score), or that on a scale from 1 to 5
with 3 in the middle, rounded (integer). A pairwise judge prefers the answer shown first with probability
sigmoid(2 * (quality first - quality second) + 0.6). Each duel is asked in both orders, each drawn on its own, and
unless both name the same answer it is a tie; `one order` asks once, which answer comes first by a coin, for comparison.
Our schedules say who meets whom, our Bradley-Terry fit (prior 0.1) turns the duels into scores, the knockout's too.

Per design: `calls` a prompt; `gap` = sum over prompts of the quality of the best-scored minus that of the worst-scored
answer, over the sum of the largest differences there are, with its standard error `gap_se`; `p_best` = share of prompts
whose best answer has the best score; `wrong_order` = share where the best-scored answer is worse than the worst-scored;
`top_ties` = share where several answers have the best score (the first is taken: their order is random).

    python benchmarks/ranking.py --json
"""

import argparse
import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from judging.ranking.bradley_terry import fit_strengths
from judging.ranking.schedules import Duel, Pair, Schedule, schedule_knockout, schedule_round_robin, schedule_swiss

SLOPE = 2.0
FIRST_PLACE = 0.6  # logit
FIXTURE = {("A", "B"): (2, 3), ("A", "D"): (1, 4), ("B", "C"): (5, 3), ("C", "D"): (1, 3)}

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Row:
    """What one design costs and finds."""

    design: str
    calls: float
    gap: float
    gap_se: float
    p_best: float
    wrong_order: float
    top_ties: float


def main() -> None:
    """Fit the fixture, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.add_argument("--prompts", type=int, default=4000, help="Prompts to simulate.")
    parser.add_argument("--k", type=int, default=8, help="Answers a prompt.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the simulation.")
    options = parser.parse_args()
    if options.prompts < 1 or options.k < 2:
        parser.error(f"--prompts must be at least 1 and --k at least 2, got {options.prompts} and {options.k}")
    strengths = fit_fixture()
    rows = simulate(options.prompts, options.k, options.seed)
    if options.json:
        size = {"prompts": options.prompts, "k": options.k, "seed": options.seed}
        print(json.dumps({"strengths": strengths, **size, "rows": [asdict(row) for row in rows]}))
        return
    print("strengths: " + ", ".join(f"{name} {strength:.3f}" for name, strength in strengths.items()))
    print(f"{'design':28} {'calls':>6} {'gap':>14} {'P(best)':>8} {'wrong order':>12} {'top ties':>9}")
    for row in rows:
        gap = f"{row.gap:.3f} +- {row.gap_se:.3f}"
        shares = f"{gap:>14} {row.p_best:8.3f} {row.wrong_order:12.2%} {row.top_ties:9.1%}"
        print(f"{row.design:28} {row.calls:6.1f} {shares}")


def fit_fixture() -> dict[str, float]:
    """Fit four items without a prior; their published strengths are .640, 1.043, .660 and 2.270."""
    names = sorted({name for pair in FIXTURE for name in pair})
    wins = np.zeros((len(names), len(names)))
    for (one, other), (won, lost) in FIXTURE.items():
        wins[names.index(one), names.index(other)] = won
        wins[names.index(other), names.index(one)] = lost
    strengths = np.exp(fit_strengths(wins, prior=0))
    return {name: round(float(strength), 3) for name, strength in zip(names, strengths, strict=True)}


def simulate(prompts: int, k: int, seed: int) -> list[Row]:
    """Judge simulated answers in each design."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=(prompts, k))
    noisy = quality + rng.normal(size=(3, prompts, k))
    ratings = np.clip(np.rint(3 + noisy), 1, 5)
    rows = [
        describe("pointwise integer 1-5", k, quality, ratings[0]),
        describe("pointwise expected score", k, quality, noisy[0]),
        describe("pointwise integer, mean of 3", 3 * k, quality, ratings.mean(axis=0)),
    ]
    designs = {
        "knockout": schedule_knockout,
        "Swiss 3 + BT": schedule_swiss(3),
        "Swiss 4 + BT": schedule_swiss(4),
        "round robin + BT": schedule_round_robin,
    }
    first_wins = draw_first_wins(quality, rng)
    verdicts = join_both_orders(first_wins)
    for design, schedule in designs.items():
        rows.append(describe_duels(design, schedule, 2, quality, verdicts))
    verdicts = choose_one_order(first_wins, rng)
    return [*rows, describe_duels("round robin, one order + BT", schedule_round_robin, 1, quality, verdicts)]


def draw_first_wins(quality: Floats, rng: np.random.Generator) -> Flags:
    """Give `(prompts, k, k)`: whether the row's answer wins against the column's where it is shown first."""
    difference = SLOPE * (quality[:, :, None] - quality[:, None, :])
    return rng.random(difference.shape) < 1 / (1 + np.exp(-(difference + FIRST_PLACE)))


def join_both_orders(first_wins: Flags) -> Floats:
    """Give the row's wins over the column: 1, 0, or 0.5 where the orders disagree."""
    other_order = ~np.swapaxes(first_wins, 1, 2)
    return np.where(first_wins == other_order, first_wins, 0.5)


def choose_one_order(first_wins: Flags, rng: np.random.Generator) -> Floats:
    """Give the row's wins over the column, 1 or 0, with either shown first by a coin."""
    heads = np.triu(rng.random(first_wins.shape) < 0.5, 1)
    row_first = heads | np.tril(~np.swapaxes(heads, 1, 2), -1)
    return np.where(row_first, first_wins, ~np.swapaxes(first_wins, 1, 2)).astype(float)


def describe_duels(design: str, schedule: Schedule, orders: int, quality: Floats, verdicts: Floats) -> Row:
    """Play a schedule on each prompt, fit, and compare."""
    wins = np.stack([play(schedule, quality.shape[1], verdict) for verdict in verdicts])
    calls = orders * float(wins.sum()) / len(quality)  # each duel has one win to share out
    return describe(design, calls, quality, fit_strengths(wins).round(6))


def play(schedule: Schedule, k: int, verdict: Floats) -> Floats:
    """Play one prompt's duels: `(k, k)` wins."""
    wins = np.zeros((k, k))
    played: list[list[Duel]] = []
    while pairs := schedule(k, played):
        played.append([_meet(pair, verdict, wins) for pair in pairs])
    return wins


def _meet(pair: Pair, verdict: Floats, wins: Floats) -> Duel:
    first, second = pair
    wins[first, second], wins[second, first] = verdict[first, second], verdict[second, first]
    return Duel(first, second, float(verdict[first, second]))


def describe(design: str, calls: float, quality: Floats, scores: Floats) -> Row:
    """Compare what a design's scores choose with what there is."""
    rows = np.arange(len(quality))
    best, worst = scores.argmax(axis=1), scores.argmin(axis=1)
    difference, largest = quality[rows, best] - quality[rows, worst], np.ptp(quality, axis=1)
    gap = difference.sum() / largest.sum()
    gap_se = (difference - gap * largest).std() / largest.mean() / np.sqrt(len(quality))  # of a ratio of means
    figures = {
        "gap": gap,
        "gap_se": gap_se,
        "p_best": (best == quality.argmax(axis=1)).mean(),
        "wrong_order": (difference < 0).mean(),
        "top_ties": ((scores == scores.max(axis=1, keepdims=True)).sum(axis=1) > 1).mean(),
    }
    return Row(design, calls, **{name: round(float(figure), 4) for name, figure in figures.items()})


if __name__ == "__main__":
    main()
