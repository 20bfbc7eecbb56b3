"""Kill -9 a run at random moments, over and over, and hold what it ends with against a run that was left alone.

Each chain starts with an empty workspace and kills the run once in every stage: the parent alone, the engine's or
training's child alone, or both; the rerun starts at once, while an orphan may still be writing. Then the run may end,
and its workspace is compared with the undisturbed one: rows, facts, checksums, loss curve, weights. A shard that was
whole when the kill came must be the same file at the end.

    python -m benchmarks.killing --output DIR [--kills 30] [--seed 0] [--json]

The run is the demo made small, with transformers' own generation; --set changes its recipe, for instance
--set "generation.engine={name: vllm, dtype: float32, max_model_len: 192, kv_cache_mb: 256}".
"""

import argparse
import json
import random
import shutil
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any  # JSON values

from rich.console import Console
from rich.table import Table

from benchmarks.killing.chains import Ended, Kill, run_chain, run_undisturbed
from benchmarks.killing.moments import KINDS, STAGES, plan_chain
from benchmarks.killing.victims import Kind, private_environment

SMALL = [
    "demo", "--set=rounds=1", "--set=prompts.per_round=48", "--set=evaluation.max_prompts=12", "--set=evaluation.k=2",
    "--set=training.batch_size=8", "--set=training.checkpoint_steps=1", "--set=generation.prompts_per_shard=4",
    "--set=generation.engine={name: transformers, dtype: float32, max_model_len: 192, batch_size: 8}",
]  # fmt: skip
SHARDED = ("generation", "judging", "evaluation")  # stages that keep their whole shards


def run_chains(output: Path, kills: int, seed: int, overrides: list[str]) -> tuple[list[Ended], dict[str, float]]:
    """Run chains until there were enough kills; give them, and the seconds of the undisturbed run."""
    environment = private_environment(output / "prefect")
    _say("the undisturbed run, and one that finds everything built")
    model = run_undisturbed([*SMALL, *overrides], output / "undisturbed", environment)
    chance = random.Random(seed)
    ended: list[Ended] = []
    while sum(len(one.kills) for one in ended) < kills:
        if len(ended) > kills:
            raise RuntimeError("most kills come too late; this machine is too busy")
        workspace = output / f"chain-{len(ended):02d}"
        done: Counter[tuple[str, Kind]] = Counter((one.stage, one.kind) for chain in ended for one in chain.kills)
        ended.append(run_chain(model, workspace, plan_chain(model.profile, workspace, done, chance)))
        _say(_chain_line(ended))
        if ended[-1].sameness.differences or ended[-1].problems:
            continue  # the workspace stays for who wants to look
        shutil.rmtree(workspace)
    return ended, {"seconds": round(model.profile.seconds, 1), "cached_s": round(model.profile.cached_s, 1)}


def _chain_line(ended: list[Ended]) -> str:
    last = ended[-1]
    hits = ", ".join(f"{one.stage}/{one.kind} {one.worked_s:.1f} s" for one in last.kills)
    wrong = [*last.sameness.differences, *last.problems]
    return f"chain {len(ended)}: {hits}: " + ("equal" if not wrong else "; ".join(wrong[:5]))


def table_rows(ended: list[Ended]) -> list[dict[str, Any]]:
    """Sum the kills up by stage."""
    rows = []
    for stage in STAGES:
        own = [(one, chain) for chain in ended for one in chain.kills if one.stage == stage]
        kills = [one for one, _ in own]
        row: dict[str, Any] = {"stage": stage} | dict.fromkeys(KINDS, 0)
        row |= Counter(one.kind for one in kills)
        for name in ("shards_kept", "shards_repeated", "rows_repeated"):
            row[name] = sum(getattr(one, name) for one in kills)
        for name in ("restart_s", "repeated_s"):
            row[name] = round(_mean(kills, name), 1)
        row["equal"] = all(not chain.sameness.differences for _, chain in own)
        rows.append(row)
    return rows


def _mean(kills: list[Kill], name: str) -> float:
    return sum(getattr(one, name) for one in kills) / len(kills) if kills else 0.0


def summary(ended: list[Ended], undisturbed: dict[str, float]) -> dict[str, Any]:
    """Sum everything up as JSON values."""
    kills = [one for chain in ended for one in chain.kills]
    left = Counter(line for one in kills for line in set(one.left_running))
    return {
        "kills": len(kills),
        "chains": len(ended),
        "undisturbed": undisturbed,
        "stages": table_rows(ended),
        "trainings_killed": sum(one.stage == "training" for one in kills),
        "trainings_resumed": sum(one.resumed_step > 0 for one in kills),
        "shards_repeated_in_sharded_stages": sum(one.shards_repeated for one in kills if one.stage in SHARDED),
        "largest_difference": {
            name: max(chain.sameness.largest[name] for chain in ended) for name in ended[0].sameness.largest
        },
        "differences": [line for chain in ended for line in chain.sameness.differences],
        "problems": [line for chain in ended for line in chain.problems],
        "temporary_files_left": sum(chain.temporary_files for chain in ended),
        "processes_left_running": dict(left),
        "each": [asdict(one) for one in kills],
    }


def show(found: dict[str, Any], console: Console) -> None:
    """Print the table by stage and what else there is to say."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold underline")
    for name in found["stages"][0]:
        table.add_column(name.replace("_", " "), justify="left" if name == "stage" else "right")
    for row in found["stages"]:
        table.add_row(*map(str, row.values()))
    console.print(table)
    for name, value in found.items():
        if name not in ("stages", "each"):
            console.print(f"{name.replace('_', ' ')}: {value}", highlight=False, soft_wrap=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Read the options, kill, compare; exit code 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="a new folder for workspaces and Prefect's files")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--set", action="append", default=[], help="a recipe field, such as generation.k=8")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    options.output.mkdir(parents=True)
    overrides = [f"--set={one}" for one in options.set]
    ended, undisturbed = run_chains(options.output.resolve(), options.kills, options.seed, overrides)
    found = summary(ended, undisturbed)
    print(json.dumps(found, indent=1)) if options.json else show(found, Console())
    if found["differences"] or found["problems"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
