"""Reward against divergence, the picture of the DPO paper (arXiv 2305.18290, figure 2) on the shipped writer.

The writer answers each prompt four times, the reward model that is shipped with it labels all six pairs of them, as in
the paper, and each loss trains the writer on these. Then every policy answers held-out prompts at temperature 1: its
mean reward by the same reward model, and its divergence KL(policy || writer) in nats an answer from the same samples.
Best-of-n has no training: its KL is at most ln n - (n - 1) / n. Preferred-FT and Unlikelihood are the paper's
baselines; PPO is left out.

    python -m benchmarks.frontier --output DIR

It writes `frontier.json` and `frontier.png` into DIR and checks the paper's two claims: a lower beta gives more reward
and more divergence, and DPO lies above Preferred-FT at equal divergence.
"""

import argparse
import json
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.writer_lab import Lab, Measured
from judging.pairing.pairing_config import PairingConfig

N_BEST = (1, 2, 4, 8, 16)
SETTINGS: dict[str, list[dict]] = {
    "DPO": [{"name": "dpo", "beta": beta} for beta in (0.1, 0.3, 1.0, 3.0, 10.0)],
    "IPO": [{"name": "ipo", "beta": beta} for beta in (0.1, 0.3, 1.0)],
    "SimPO": [{"name": "simpo", "beta": 2.0, "gamma_beta_ratio": ratio} for ratio in (0.0, 0.5)],
    "Unlikelihood": [{"name": "unlikelihood", "alpha": alpha} for alpha in (0.05, 0.1, 0.5)],
    "Preferred-FT": [{"name": "preferred_ft"}],
}
EPOCHS = (2, 6)


@dataclass(frozen=True)
class Point:
    """One policy on the picture."""

    method: str
    setting: str
    epochs: int
    reward: float
    kl: float
    words: float


def main() -> None:
    """Train, measure, draw, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="Folder for policies, figures and picture.")
    parser.add_argument("--prompts", type=int, default=192, help="Training prompts, 4 answers each (192).")
    parser.add_argument("--held-out", type=int, default=192, help="Held-out prompts (192).")
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="Peak learning rate of every loss (1e-4).")
    parser.add_argument("--only", nargs="*", choices=SETTINGS, default=list(SETTINGS), help="Methods.")
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    lab = Lab(asked.prompts, asked.held_out, PairingConfig(rule="all_pairs"))
    lab.pairs = without_weights(lab.pairs)
    points = [_point("Best of n", f"n {n}", 0, one) for n, one in lab.best_of(N_BEST).items()]
    for method in asked.only:
        for loss in SETTINGS[method]:
            for epochs in EPOCHS:
                folder = asked.output / "policies" / f"{method}-{_setting(loss)}-{epochs}".replace(" ", "")
                settings = {
                    "loss": loss,
                    "epochs": epochs,
                    "learning_rate": asked.learning_rate,
                    "lr_schedule": "linear",
                }
                lab.train(settings | {"batch_size": 32, "threads": 1}, folder)
                points.append(_point(method, _setting(loss), epochs, lab.measure(folder)))
                print(json.dumps(points[-1].__dict__), file=sys.stderr, flush=True)
    figures = {
        "settings": {name: getattr(asked, name) for name in ("prompts", "held_out", "learning_rate")},
        "versions": {name: version(name) for name in ("torch", "transformers", "trl")}
        | {"python": platform.python_version()},
        "points": [point.__dict__ for point in points],
        "claims": check(points),
    }
    (asked.output / "frontier.json").write_text(json.dumps(figures, indent=1) + "\n")
    draw(points, asked.output / "frontier.png")
    print(json.dumps(figures["claims"], indent=1))


def _point(method: str, setting: str, epochs: int, measured: Measured) -> Point:
    return Point(method, setting, epochs, measured.reward, measured.kl, measured.words)


def _setting(loss: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in loss.items() if name != "name") or "as it is"


def without_weights(pairs: pa.Table) -> pa.Table:
    """Let all pairs count alike: the paper's labels are hard."""
    place = pairs.schema.get_field_index("weight")
    return pairs.set_column(place, pairs.schema.field(place), pa.nulls(pairs.num_rows, pa.float64()))


def check(points: list[Point]) -> dict:
    """Look whether the paper's claims hold on these points."""
    dpo = [point for point in points if point.method == "DPO"]
    last = sorted((one for one in dpo if one.epochs == EPOCHS[-1]), key=lambda one: float(one.setting.split()[-1]))
    start = next(point for point in points if point.setting == "n 1")
    # The frontier over training and beta: the best reward that any DPO policy has at no more divergence.
    frontier = sorted([(0.0, start.reward), *((one.kl, one.reward) for one in dpo)])
    kls, rewards = [kl for kl, _ in frontier], [reward for _, reward in frontier]
    rows = [
        {
            "epochs": one.epochs, "kl": one.kl, "preferred_ft": one.reward,
            "dpo_at_no_more_kl": max(reward for kl, reward in frontier if kl <= one.kl),
            "dpo_between_neighbours": float(np.interp(one.kl, kls, rewards)),
        }
        for one in points
        if one.method == "Preferred-FT"
    ]  # fmt: skip
    return {
        "lower_beta_more_reward": all(low.reward > high.reward for low, high in pairwise(last)),
        "lower_beta_more_kl": all(low.kl > high.kl for low, high in pairwise(last)),
        "dpo_above_preferred_ft": bool(rows)
        and all(row["dpo_between_neighbours"] > row["preferred_ft"] for row in rows),
        "at_equal_kl": rows,
    }


def draw(points: list[Point], path: Path) -> None:
    """Draw reward against divergence, a line a setting over its epochs, best-of-n as one line."""
    from matplotlib.figure import Figure

    colours = {
        "DPO": "#2a6fc4",
        "IPO": "#7a4fb5",
        "SimPO": "#c8611c",
        "Unlikelihood": "#8a8f98",
        "Preferred-FT": "#c22f4a",
        "Best of n": "#1d7a4f",
    }
    figure = Figure(figsize=(7.6, 4.8), layout="constrained")
    axes = figure.add_subplot()
    start = next(point for point in points if point.setting == "n 1")
    named: set[str] = set()
    for key in dict.fromkeys((one.method, one.setting if one.method != "Best of n" else "") for one in points):
        line = [one for one in points if one.method == key[0] and (one.method == "Best of n" or one.setting == key[1])]
        xs, ys = [start.kl, *(one.kl for one in line)], [start.reward, *(one.reward for one in line)]
        label = None if key[0] in named else key[0]
        named.add(key[0])
        axes.plot(xs, ys, marker="o", markersize=4, linewidth=1.3, color=colours[key[0]], label=label)
        if key[0] == "DPO":
            axes.annotate(
                key[1].replace("beta", "β"),
                (xs[-1], ys[-1]),
                textcoords="offset points",
                xytext=(5, 3),
                fontsize=8,
                color=colours["DPO"],
            )
    axes.set_xscale("symlog", linthresh=0.5)
    axes.set_xlabel("KL(policy ‖ start), nats an answer")
    axes.set_ylabel("mean reward on held-out prompts")
    axes.grid(color="#dfe3e9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
