"""Kill -9 a training at random moments, and hold what it ends with against one that was left alone.

`prefloop train` on random pairs and a random Llama, as a user starts it: once left alone, once killed (the command and
its child at the same instant) and started again until there were enough kills. Every second kill comes while a
checkpoint is being written, the others at any time in a step. Compared are every metric of every step but those of time
and memory, and the weights.

    python -m benchmarks.resume [--kills 3] [--seed 0] [--case full ...] [--output DIR] [--json]
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any  # JSON values

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.random_llama import write_language_model

_SIZES = {"vocab_size": 512, "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3}
_PAIRS, _STEPS, _EVERY = 110, 42, 3  # three epochs of 14 steps, the last of each with 6 of 8 pairs
_COMMON = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-3, "checkpoint_steps": _EVERY, "threads": 1}
_HALVES = {"micro_batch_size": 4}
_LORA = {"rank": 8, "alpha": 16, "dropout": 0.1}
CASES: dict[str, dict[str, Any]] = {
    "full": _HALVES,
    "lora": _HALVES | {"lora": _LORA},
    "bco": {"loss": {"name": "bco"}},
    "beta_dpo": {"loss": {"name": "beta_dpo"}},
    "bfloat16": _HALVES | {"dtype": "bfloat16", "lora": _LORA},
    "processes": {"distributed": {"processes": 2}},
    "holdout": _HALVES | {"holdout": {"every_steps": 4, "patience": 20}},
}
_TIMES = {"tokens_per_s", "distinct_tokens_per_s", "peak_memory_gib"}
_RUN_S = 600.0
_LOOK_S = 0.0005


def write_inputs(folder: Path, seed: int) -> tuple[Path, Path]:
    """Write random pairs, two for each prompt, and a random model; give their paths."""
    chance = random.Random(seed)
    words = ["red", "green", "blue", "one", "two", "three", "left", "right", "up", "down", "sun", "rain"]

    def text(longest: int) -> str:
        return " ".join(chance.choices(words, k=chance.randint(3, longest)))

    rows = [
        {
            "pair_id": f"pair{number:03d}",
            "prompt_id": f"prompt{number // 2:03d}",
            "chosen_id": f"chosen{number:03d}",
            "rejected_id": f"rejected{number:03d}",
            "messages": [{"role": "user", "content": f"{words[number // 2 % 12]} {number // 2}"}],
            "chosen": text(24),
            "rejected": text(24),
        }
        for number in range(_PAIRS)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "pairs.parquet")
    texts = [row[side] for row in rows for side in ("chosen", "rejected")]
    return folder / "pairs.parquet", write_language_model(folder / "model", texts, seed, **_SIZES)


class Training:
    """One `prefloop train` on given inputs, started as often as it is killed."""

    def __init__(self, inputs: tuple[Path, Path], output: Path, config: dict[str, Any]) -> None:
        program = str(Path(sys.executable).with_name("prefloop"))
        settings = [f"--set={name}={yaml.safe_dump(value, default_flow_style=True)}" for name, value in config.items()]
        self.output = output
        self._log = output.with_suffix(".log")
        self._command = [
            program, "train", "--input", str(inputs[0]), "--model", str(inputs[1]), "--output", str(output),
            "--json", *(one.removesuffix("\n...\n").rstrip("\n") for one in settings),
        ]  # fmt: skip

    def start(self) -> subprocess.Popen[bytes]:
        """Start it in a process group of its own."""
        with self._log.open("wb") as log:
            return subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def finish(self) -> dict[str, Any]:
        """Run to the end; give what the command prints.

        Raises:
            RuntimeError: It failed.
        """
        process = self.start()
        said, _ = process.communicate(timeout=_RUN_S)
        if process.returncode:
            raise RuntimeError(f"exit code {process.returncode}: {self._log.read_text()[-2000:]}")
        return json.loads(said)

    def checkpoints(self) -> dict[int, bool]:
        """List the steps of the checkpoints that are there, and whether each is whole."""
        folder = self.output.with_name(f"{self.output.name}.partial") / "policy" / "checkpoints"
        found = folder.glob("checkpoint-*")
        return {int(path.name.removeprefix("checkpoint-")): (path / "complete.json").exists() for path in found}


def kill_once(training: Training, chance: random.Random, while_writing: bool) -> dict[str, Any] | None:
    """Start a training, and kill it once it has gone on for a random while; None where it was done before."""
    before = max((step for step, whole in training.checkpoints().items() if whole), default=0)
    target = before + _EVERY * chance.randint(1, max(1, (_STEPS - before) // _EVERY // 3))
    process = training.start()
    while process.poll() is None:
        there = training.checkpoints()
        if while_writing and there.get(target) is False:
            time.sleep(chance.uniform(0, 0.01))
            break
        if not while_writing and there.get(target):
            time.sleep(chance.uniform(0, 0.3))
            break
        if max(there, default=0) > target:
            break
        time.sleep(_LOOK_S)
    end(process)
    if training.output.exists():
        return None
    there = training.checkpoints()
    return {
        "resumed_from": before,
        "whole": sorted(step for step, whole in there.items() if whole),
        "half_written": sorted(step for step, whole in there.items() if not whole),
    }


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a command and all its children at once."""
    with suppress(psutil.NoSuchProcess):
        victims = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                os.kill(victim.pid, signal.SIGKILL)
        psutil.wait_procs(victims, timeout=30)
    process.communicate()


def compare(one: Path, other: Path) -> dict[str, Any]:
    """Compare metrics and weights of two trainings: the largest differences, and whether each step stands once."""
    import torch
    from safetensors.torch import load_file

    curves = [_metrics(folder) for folder in (one, other)]
    same_rows = [row[:2] for row in curves[0]] == [row[:2] for row in curves[1]]
    gaps = [(a[1], abs(a[2] - b[2])) for a, b in zip(*curves, strict=False)]
    weights = [load_file(next(folder.glob("*.safetensors"))) for folder in (one, other)]
    return {
        "steps": max(step for step, _, _ in curves[0]),
        "every_step_once": same_rows and len({row[:2] for row in curves[0]}) == len(curves[0]),
        "max_loss_difference": max(gap for name, gap in gaps if name == "loss"),
        "max_metric_difference": max(gap for _, gap in gaps),
        "max_weight_difference": max(
            float((weights[0][name].double() - weights[1][name].double()).abs().max()) for name in weights[1]
        ),
        "weights_equal_bit_by_bit": all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1]),
    }


def _metrics(folder: Path) -> list[tuple[int, str, float]]:
    rows = pq.read_table(folder / "part-00000.parquet").to_pylist()
    return [(row["step"], row["name"], row["value"]) for row in rows if row["name"] not in _TIMES]


def run_case(name: str, inputs: tuple[Path, Path], folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Train alone, train with kills, compare."""
    chance = random.Random(f"{seed} {name}")
    alone = Training(inputs, folder / f"{name}-alone", _COMMON | CASES[name])
    alone.finish()
    while True:
        killed, done = Training(inputs, folder / f"{name}-killed", _COMMON | CASES[name]), []
        while len(done) < kills and (one := kill_once(killed, chance, while_writing=len(done) % 2 == 1)):
            done.append(one)
        if len(done) == kills:
            break
        killed.output.rename(folder / f"{name}-too-late-{time.monotonic_ns()}")
    said = killed.finish()
    found = {"case": name, "kills": done, "resumed_step": said["resumed_step"]}
    return found | compare(killed.output, alone.output)


def main() -> None:
    """Read the options, kill, compare; exit code 1 where a curve differs by more than 1e-5."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of pairs, weights and moments")
    parser.add_argument("--case", action="append", choices=list(CASES), help="again for several; all by default")
    parser.add_argument("--output", type=Path, help="keep everything in this folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.output or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        inputs = write_inputs(folder, options.seed)
        cases = [run_case(name, inputs, folder, options.kills, options.seed) for name in options.case or CASES]
    largest = max(max(one["max_loss_difference"], one["max_weight_difference"]) for one in cases)
    if options.json:
        print(json.dumps({"cases": cases, "largest_difference": largest}, indent=1))
    else:
        for one in cases:
            print(*(f"{name}: {value}" for name, value in one.items()), sep="\n", end="\n\n")
    if largest > 1e-5 or not all(one["every_step_once"] for one in cases):
        sys.exit(1)


if __name__ == "__main__":
    main()
