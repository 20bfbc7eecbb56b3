"""Ranking by duels: the Bradley-Terry fixture, and what each schedule finds for its calls, on simulated answers.

Each of 4,000 prompts has k = 8 answers whose true qualities are drawn from a standard normal. A pointwise judge sees
quality plus noise of standard deviation 1 (expected score), or that on a scale from 1 to 5 with 3 in the middle,
rounded (integer). A pairwise judge prefers the answer shown first with probability
sigmoid(2 * (quality first - quality second) + 0.6); each duel is asked in both orders, and unless both name the same
answer it is a tie. Our schedules say who meets whom, our Bradley-Terry fit (prior 0.1) turns the duels into scores.

Per design: `calls` a prompt; `gap` = quality of the best-scored minus that of the worst-scored answer over the largest
difference there is, summed over prompts; `p_best` = share of prompts whose best answer has the best score;
`wrong_order` = share where the best-scored answer is worse than the worst-scored; `top_ties` = share where several
answers have the best score (the first is taken: their order is random).

    python benchmarks/ranking.py --json
"""

import argparse
import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from judging.bradley_terry import fit_strengths
from judging.ranking import Duel, Pair, Schedule, schedule_knockout, schedule_round_robin, schedule_swiss

SLOPE = 2.0
FIRST_PLACE = 0.6  # logit
FIXTURE = {("A", "B"): (2, 3), ("A", "D"): (1, 4), ("B", "C"): (5, 3), ("C", "D"): (1, 3)}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """What one design costs and finds."""

    design: str
    calls: float
    gap: float
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
        print(json.dumps({"strengths": strengths, "prompts": options.prompts, "k": options.k,
                          "rows": [asdict(row) for row in rows]}))  # fmt: skip
        return
    print("strengths: " + ", ".join(f"{name} {strength:.3f}" for name, strength in strengths.items()))
    print(f"{'design':28} {'calls':>6} {'gap':>6} {'P(best)':>8} {'wrong order':>12} {'top ties':>9}")
    for row in rows:
        shares = f"{row.gap:6.3f} {row.p_best:8.3f} {row.wrong_order:12.2%} {row.top_ties:9.1%}"
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
    noisy = quality + rng.normal(size=(prompts, k))
    ratings = np.clip(np.rint(3 + noisy), 1, 5)
    verdicts = draw_verdicts(quality, rng)
    designs = {
        "knockout": schedule_knockout,
        "Swiss 3 + BT": schedule_swiss(3),
        "Swiss 4 + BT": schedule_swiss(4),
        "round robin + BT": schedule_round_robin,
    }
    rows = [
        describe("pointwise integer 1-5", k, quality, ratings),
        describe("pointwise expected score", k, quality, noisy),
    ]
    for design, schedule in designs.items():
        wins = np.stack([play(schedule, k, verdict) for verdict in verdicts])
        calls = 2 * float(wins.sum()) / prompts
        rows.append(describe(design, calls, quality, fit_strengths(wins).round(6)))
    return rows


def draw_verdicts(quality: Floats, rng: np.random.Generator) -> Floats:
    """Give `(prompts, k, k)` wins of the row's answer over the column's: 1, 0, or 0.5 where the orders disagree."""
    difference = SLOPE * (quality[:, :, None] - quality[:, None, :])
    first_wins = rng.random(difference.shape) < 1 / (1 + np.exp(-(difference + FIRST_PLACE)))
    other_order = ~np.swapaxes(first_wins, 1, 2)
    return np.where(first_wins == other_order, first_wins, 0.5)


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
    difference = quality[rows, scores.argmax(axis=1)] - quality[rows, scores.argmin(axis=1)]
    top_ties = (scores == scores.max(axis=1, keepdims=True)).sum(axis=1) > 1
    return Row(
        design,
        calls,
        round(float(difference.sum() / np.ptp(quality, axis=1).sum()), 4),
        round(float((scores.argmax(axis=1) == quality.argmax(axis=1)).mean()), 4),
        round(float((difference < 0).mean()), 4),
        round(float(top_ties.mean()), 4),
    )


if __name__ == "__main__":
    main()
