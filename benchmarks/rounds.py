"""Four rounds with each policy for refusals: stop, keep, retry. Real engine, trainer and gate, on the shipped writer.

The recipe is the demo's at a small size with a learning rate that is too high from the second round on. The three runs
share a workspace, so that what they have in common is built once. A table a run, and checks of what must hold: `stop`
ends with the first refusal, `keep` goes on from the last good policy with the next prompts, `retry` trains again on the
same pairs with a smaller learning rate and a larger beta.

    python -m benchmarks.rounds --output DIR
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

SIZE = [
    "rounds=4", "prompts.per_round=64", "evaluation.max_prompts=64", "evaluation.k=2", "training.batch_size=16",
    "iteration.schedule.learning_rate=[1e-3, 6e-3]", "iteration.retry.times=2",
]  # fmt: skip


def main() -> None:
    """Run the three and check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="Folder for the workspace.")
    workspace = parser.parse_args().output / "workspace"
    for policy in ("stop", "keep", "retry"):
        tries = run(workspace, policy)
        check(policy, tries)


def run(workspace: Path, policy: str) -> list[dict]:
    """Run the recipe with one policy for refusals; give one row for each try of a round."""
    options = [part for one in [*SIZE, f"iteration.on_refusal={policy}"] for part in ("--set", one)]
    prefloop = str(Path(sys.executable).with_name("prefloop"))
    command = [prefloop, "run", "demo", "--workspace", str(workspace), "--json", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 3):
        sys.exit(done.returncode)
    summary = json.loads(done.stdout)
    tries = [row(workspace, summary["run"], figures) for figures in summary["rounds"]]
    stopped = summary["stopped"]["reason"] if summary["stopped"] else "it did its rounds"
    print(f"\non_refusal: {policy} (exit code {done.returncode}; {stopped})")
    print(f"{'round':>5} {'retry':>5} {'from':>8} {'rate':>8} {'beta':>5} {'gold':>14} {'annotator':>12}  gate")
    for one in tries:
        figures = one["figures"]
        gold = f"{figures['gold_before']:.3f} > {figures['gold_after']:.3f}"
        annotator = f"{figures['annotator_before']:.2f} > {figures['annotator_after']:.2f}"
        where = f"{figures['round']:>5} {figures['attempt']:>5} {one['start'][:8]:>8}"
        print(f"{where} {one['rate']:>8.2e} {one['beta']:>5.2f} {gold:>14} {annotator:>12}  {figures['decision']}")
    print(f"last good policy: round {summary['final']['round']}, gold {summary['final']['gold']:.3f}")
    return tries


def row(workspace: Path, name: str, figures: dict) -> dict:
    """Read what a try was trained with from its policy's manifest."""
    retry = f"-retry-{figures['attempt']}" if figures["attempt"] else ""
    folder = workspace / "runs" / name / f"round-{figures['round']:02d}{retry}"
    policy = json.loads((folder / "round.json").read_text())["policy"]
    parts = json.loads((Path(policy["model"]) / "manifest.json").read_text())["parts"]
    config = parts["config"]
    return {
        "figures": figures, "policy": policy["key"], "start": parts["start"], "pairs": parts["pairs"],
        "rate": config["learning_rate"], "beta": config["loss"]["beta"],
    }  # fmt: skip


def check(policy: str, tries: list[dict]) -> None:
    """Check what must hold after a refusal."""
    refused = [index for index, one in enumerate(tries) if one["figures"]["decision"] != "pass"]
    if not refused:
        sys.exit("no round was refused: nothing was shown; raise the learning rate")
    good = tries[0]["start"]
    for index, one in enumerate(tries):
        assert one["start"] == good, "a round did not start from the last good policy"
        before = tries[index - 1] if one["figures"]["attempt"] else None
        if before:
            assert one["pairs"] == before["pairs"], "a retry was trained on other pairs"
            assert one["rate"] == before["rate"] / 2, "a retry has another learning rate"
            assert one["beta"] == before["beta"] * 2, "a retry has another beta"
        if one["figures"]["decision"] == "pass":
            good = one["policy"]
    numbers = [one["figures"]["round"] for one in tries]
    expected = {"stop": numbers[refused[0]] == numbers[-1], "keep": numbers == [1, 2, 3, 4], "retry": numbers[-1] == 4}
    assert expected[policy], f"on_refusal {policy} led to the rounds {numbers}"


if __name__ == "__main__":
    main()
