"""DPO training: tokens a second of this package's trainer against TRL's, same pairs, same batches, same losses.

    python benchmarks/training.py [--quick] [--only CASE ...] [--json FILE] [--device cuda]

Every repeat trains each arm from the same weights, one after the other, and gives one ratio; medians and ranges are
over repeats. A processor's noise hits neighbours alike, so ratios of processor time hold on a busy machine. Tokens are
counted as plain TRL counts them, a prompt once for each answer; gradient checkpointing is off in all arms. The losses
of each step must be equal within 1e-4. The arms are described in `training_arms.py`. What our reference pass costs is
reported apart; `trl` has its own inside each step.

`--device cuda` trains a Llama of 0.8 billion parameters in bfloat16 and adds the peak memory. It has not been run yet:
no figure in this project comes from a GPU.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any  # rows of JSON, models of untyped libraries

if __name__ == "__main__":  # this file's own name would hide the package `training`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

if TYPE_CHECKING:
    from benchmarks.training_arms import Pairs, Setting

MOST_LOSS_DIFFERENCE = 1e-4
BODY = {"vocab_size": 2048, "hidden_size": 384, "intermediate_size": 1664, "num_hidden_layers": 8}
HEAD = {"vocab_size": 32768, "hidden_size": 384, "intermediate_size": 1152, "num_hidden_layers": 5}
LARGE = {"vocab_size": 32768, "hidden_size": 1536, "intermediate_size": 4096, "num_hidden_layers": 26}


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: What `--only` takes.
        model: Fields of LlamaConfig.
        prompt: Tokens of a prompt; the mean where lengths are uneven.
        completion: Tokens of an answer; likewise.
        pairs_per_prompt: One chosen answer against so many rejected ones.
        batch_size: Pairs a step.
        steps: Optimiser steps of one repeat.
        repeats: How often each arm is trained.
        uneven: Lognormal lengths (sigma 0.6) instead of constant ones.
        targets: Least median ratios wanted against `trl` and `trl_precomputed`; empty = none.
    """

    name: str
    model: dict[str, int]
    prompt: int = 256
    completion: int = 128
    pairs_per_prompt: int = 1
    batch_size: int = 4
    steps: int = 2
    repeats: int = 5
    uneven: bool = False
    targets: tuple[float, ...] = ()


CASES = [
    Case("one_pair_2k", BODY, targets=(1.9, 1.4)),
    Case("one_pair_32k", HEAD, targets=(3.0, 1.4)),
    Case("four_pairs_2k", BODY, pairs_per_prompt=4, batch_size=8, targets=(4.0, 2.5)),
    Case("one_pair_2k_uneven", BODY, uneven=True, repeats=3),
    Case("four_pairs_2k_uneven", BODY, pairs_per_prompt=4, uneven=True, batch_size=8, repeats=3),
    *(
        Case(f"grid_{prompt}_{completion}_x{pairs}", BODY, prompt, completion, pairs, repeats=2)
        for prompt, completion in ((64, 256), (128, 128), (256, 64), (768, 128))
        for pairs in (1, 2, 4)
    ),
]


def main() -> None:
    """Run the cases, print a line each, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Tiny models, one repeat: does it run?")
    parser.add_argument("--only", nargs="+", metavar="CASE", default=["*"], help="Names or patterns, such as grid_*.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Where the figures go; cases there already stay.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    cases = [case for case in CASES if any(fnmatch(case.name, one) for one in options.only)]
    cuda = options.device == "cuda"
    report: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds"), **_circumstances(options.device)}
    before = json.loads(options.json.read_text())["cases"] if options.json and options.json.exists() else []
    rows = {row["name"]: row for row in before}
    for case in cases:
        rows[case.name] = run_case(
            _small(case) if options.quick else replace(case, model=LARGE, targets=()) if cuda else case, cuda
        )
        print(_line(rows[case.name]), flush=True)
        if options.json:
            options.json.write_text(json.dumps(report | {"cases": list(rows.values())}, indent=1) + "\n")


def run_case(case: Case, cuda: bool) -> dict[str, Any]:
    """Train all arms of a case `repeats` times, alternating.

    Raises:
        SystemExit: The losses of two arms differ.
    """
    import torch

    from benchmarks.training_arms import Setting, run_arm

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, n_parameters = _write_model(Path(folder) / "model", case)
        pairs = _pairs(case)
        nothing = np.zeros(len(pairs.prompts))
        bare = Setting(f"{folder}/model", tokenizer, pairs, (nothing, nothing), case.batch_size, folder, cuda)
        setting, reference_pass = _with_reference(bare)
        arms = [arm for arm in ("trl", "trl_precomputed", "trl_sorted", "ours") if case.uneven or arm != "trl_sorted"]
        timings = {arm: [] for arm in arms}
        for repeat in range(case.repeats):
            for arm in np.roll(arms, repeat).tolist():  # nobody is always first
                timings[arm].append(run_arm(arm, setting))
    compared = [arm for arm in arms if arm != "trl_sorted"]
    losses = np.array([[one.losses for one in timings[arm]] for arm in compared])
    difference = float(np.ptp(losses, axis=0).max())
    if not difference <= (MOST_LOSS_DIFFERENCE if not cuda else 5e-3):
        raise SystemExit(f"{case.name}: the losses of a step differ by {difference:.1e} between the arms")
    return {
        **asdict(case), "parameters": n_parameters, "tokens": pairs.tokens, "max_loss_difference": difference,
        "arms": {arm: _figures(pairs.tokens, timings[arm], cuda) for arm in arms},
        "ratios": {arm: _ratios(timings[arm], timings["ours"], cuda) for arm in arms if arm != "ours"},
        "reference_pass": reference_pass,
    }  # fmt: skip


def _write_model(folder: Path, case: Case) -> tuple[Any, int]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from benchmarks.random_llama import train_tokenizer

    torch.manual_seed(0)
    heads = max(1, case.model["hidden_size"] // 64)
    sizes: dict[str, Any] = {**case.model}
    config = LlamaConfig(
        **sizes, num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=8192,
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer = train_tokenizer(["no text is needed: the pairs are token ids"], 300)
    tokenizer.save_pretrained(folder)
    return tokenizer, model.num_parameters()


def _pairs(case: Case) -> "Pairs":
    from benchmarks.training_arms import Pairs

    rng = np.random.default_rng(0)

    def text(mean: int) -> list[int]:
        length = max(2, int(mean * rng.lognormal(-0.18, 0.6))) if case.uneven else mean
        return rng.integers(6, case.model["vocab_size"], length).tolist()

    pairs = Pairs([], [], [])
    while len(pairs.prompts) < case.batch_size * case.steps:
        prompt, chosen = text(case.prompt), text(case.completion)
        for _ in range(case.pairs_per_prompt):
            pairs.prompts.append(prompt)
            pairs.chosen.append(chosen)
            pairs.rejected.append(text(case.completion))
    return pairs


def _with_reference(bare: "Setting") -> "tuple[Setting, dict[str, float]]":
    """Compute the reference's log-probs as a training does, and say what that cost."""
    from training.policies.policy import load_policy
    from training.prefix.logprobs import shared_token_logprobs

    pairs, model = bare.pairs, load_policy(bare.model)
    cpu, wall = time.process_time(), time.perf_counter()
    compute = "bfloat16" if bare.cuda else "float32"
    answers = pairs.chosen + pairs.rejected
    found = shared_token_logprobs(model, pairs.prompts * 2, answers, 2 * bare.batch_size, compute)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    sums = np.array([one.logprobs.sum() for one in found])
    figures = {"cpu_s": round(cpu, 2), "wall_s": round(wall, 2), "tokens_per_s": round(pairs.tokens / wall)}
    return replace(bare, reference=(sums[: len(pairs.prompts)], sums[len(pairs.prompts) :])), figures


def _figures(tokens: int, timings: list[Any], cuda: bool) -> dict[str, Any]:
    found = {
        "tokens_per_cpu_s": round(median(tokens / one.cpu_s for one in timings)),
        "tokens_per_wall_s": round(median(tokens / one.wall_s for one in timings)),
    }
    return found | ({"peak_mib": max(one.peak_mib for one in timings)} if cuda else {})


def _ratios(theirs: list[Any], ours: list[Any], cuda: bool) -> dict[str, Any]:
    """Tokens a second of ours over theirs, repeat by repeat."""
    both = list(zip(theirs, ours, strict=True))
    found = {"wall": [one.wall_s / other.wall_s for one, other in both]}
    if not cuda:
        found["cpu"] = [one.cpu_s / other.cpu_s for one, other in both]
    return {
        clock: {"median": round(median(v), 2), "min": round(min(v), 2), "max": round(max(v), 2)}
        for clock, v in found.items()
    }


def _small(case: Case) -> Case:
    tiny = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    return replace(case, model=tiny, prompt=24, completion=12, steps=2, repeats=1, targets=())


def _circumstances(device: str) -> dict[str, Any]:
    packages = ("torch", "trl", "transformers", "accelerate")
    return {
        "command": "python benchmarks/training.py",  # each case can be run by itself with --only
        "device": device,
        "threads": 1,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
    }


def _line(row: dict[str, Any]) -> str:
    def ratio(arm: str) -> str:
        one = row["ratios"][arm].get("cpu", row["ratios"][arm]["wall"])
        return f"{one['median']:.2f} [{one['min']:.2f} .. {one['max']:.2f}] x {arm}"

    met = ""
    if row["targets"]:
        medians = [row["ratios"][arm]["cpu"]["median"] for arm in ("trl", "trl_precomputed")]
        good = all(one >= wanted for one, wanted in zip(medians, row["targets"], strict=True))
        met = f"; wanted {row['targets']}: {'met' if good else 'MISSED'}"
    ratios = ", ".join(ratio(arm) for arm in row["ratios"])
    return f"{row['name']}: {ratios}; losses differ by {row['max_loss_difference']:.1e}{met}"


if __name__ == "__main__":
    main()
