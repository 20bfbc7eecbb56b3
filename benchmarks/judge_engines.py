"""Whether a judge gives the same scores by either way to its model: python -m benchmarks.judge_engines [--json].

1. A rubric judge asks a random Llama of 5 million parameters and 2,048 positions for a constrained choice with
   log-probs, over vLLM's OpenAI-compatible server and in its offline engine: the scores' largest difference. Its
   verdicts mean nothing, the mechanics do.
2. Reward models (a random one of the same size, and the one that ships with the demo) score in transformers and in
   vLLM: the largest difference, and the share of pairs of candidates in the same order.

All in float32 on one thread. Seconds are those of scoring; starting an engine stands apart. Measured on two cores with
200 candidates and two aspects, 400 questions of about 450 tokens of which 240 are shared: no difference between server
and offline engine, 9.0 s and 7.3 s; reward models 1.6e-5 and 9.5e-7 apart, all of 19,900 pairs in the same order.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any  # JSON values

from rich.console import Console
from rich.table import Table

from benchmarks.random_llama import write_language_model, write_reward_model
from generation.chat_client import ChatClient
from generation.config import OpenAIConfig
from generation.engine import PolicyFiles
from generation.vllm_server import serve_policy
from judging.chat_config import AspectConfig, RubricConfig
from judging.engine_config import EngineConfig, OfflineConfig, ServerConfig
from judging.environment import judge_engine_environment
from judging.judge import Item, Judge, Verdict
from judging.judges import Tools, open_judge
from judging.model_config import RewardModelConfig

ROOT = Path(__file__).parents[1]
FILM_REWARD = ROOT / "data" / "models" / "reward"
NAME = "judge"
K = 4
CONCURRENCY = 64
CACHE_MB = 512


@dataclass(frozen=True)
class Arm:
    """What one way of judging gave.

    Attributes:
        verdicts: One an item, in the items' order.
        start_s: Seconds until the model was open.
        score_s: Seconds from the first item to the last verdict.
    """

    verdicts: list[Verdict]
    start_s: float
    score_s: float

    def figures(self) -> dict[str, Any]:
        """Give what is printed about it."""
        n_tokens = sum(verdict.n_tokens_in or 0 for verdict in self.verdicts)
        return {
            "scored": sum(verdict.score is not None for verdict in self.verdicts),
            "tokens_in": n_tokens,
            "start_s": round(self.start_s, 1),
            "score_s": round(self.score_s, 2),
            "tokens_per_s": round(n_tokens / self.score_s),
        }


def main() -> None:
    """Run everything and print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        if arguments.json:  # engines print on standard output: it goes to standard error meanwhile
            standard_output = os.fdopen(os.dup(1), "w")
            stack.callback(os.dup2, standard_output.fileno(), 1)
            os.dup2(2, 1)
        report = measure(Path(folder), arguments.candidates)
    if arguments.json:
        print(json.dumps(report))
    else:
        show(report)
    sys.exit(0 if report["passed"] else 1)


def measure(folder: Path, n_candidates: int) -> dict[str, Any]:
    """Compare all engines on n candidates, k of them a prompt."""
    os.environ.update(judge_engine_environment(rubric(offline(folder))))  # before torch is imported
    language_model = write_language_model(folder / "language_model", texts())
    reward_model = write_reward_model(folder / "reward_model", texts(), seed=1)
    items = make_items(n_candidates)
    rubrics = compare(judge_by_server(language_model, items), run(open_judge(rubric(offline(language_model))), items))
    rewards = {
        name: compare(
            run(open_judge(reward(model, "transformers")), items), run(open_judge(reward(model, "vllm")), items)
        )
        for name, model in (("random_reward_model", reward_model), ("film_reward_model", FILM_REWARD))
    }
    report = {"candidates": n_candidates, "rubric": name_arms(rubrics, "server", "offline")}
    report |= {name: name_arms(reward, "transformers", "vllm") for name, reward in rewards.items()}
    everything = [rubrics, *rewards.values()]
    report["passed"] = all(one["first"]["scored"] == one["second"]["scored"] == n_candidates for one in everything)
    report["passed"] &= rubrics["max_difference"] <= 1e-3 and all(one["same_order"] >= 0.99 for one in everything[1:])
    return report


def judge_by_server(model: Path, items: list[Item]) -> Arm:
    """Score by vLLM's server, started for this."""
    start = time.perf_counter()
    settings = OpenAIConfig(max_model_len=2048, kv_cache_mb=CACHE_MB, max_num_seqs=CONCURRENCY)
    with serve_policy(PolicyFiles(str(model), NAME), settings, "float32") as server:
        ready_s = time.perf_counter() - start
        engine = ServerConfig(name="openai", base_url=server.base_url, model=NAME, concurrency=CONCURRENCY)
        arm = run(open_judge(rubric(engine), Tools(client=ChatClient.from_config(engine))), items)
    return Arm(arm.verdicts, ready_s, arm.score_s)


def run(judge: Judge, items: list[Item]) -> Arm:
    """Open a judge and score everything."""
    start = time.perf_counter()
    with judge:
        opened = time.perf_counter()
        verdicts = dict(judge.score(enumerate(items)))
        end = time.perf_counter()
    return Arm([verdicts[row] for row in range(len(items))], opened - start, end - opened)


def compare(first: Arm, second: Arm) -> dict[str, Any]:
    """Compare the scores of the items that both have scored."""
    scores = [
        (one.score, other.score)
        for one, other in zip(first.verdicts, second.verdicts, strict=True)
        if one.score is not None and other.score is not None
    ]
    pairs = list(combinations(scores, 2))
    same = sum(_sign(one[0] - other[0]) == _sign(one[1] - other[1]) for one, other in pairs)
    return {
        "first": first.figures(),
        "second": second.figures(),
        "max_difference": max((abs(one - other) for one, other in scores), default=None),
        "lowest": min((one for one, _ in scores), default=None),
        "highest": max((one for one, _ in scores), default=None),
        "pairs": len(pairs),
        "same_order": same / len(pairs) if pairs else 0.0,
        "same_reasons": all(
            one.reason == other.reason for one, other in zip(first.verdicts, second.verdicts, strict=True)
        ),
    }


def _sign(difference: float) -> int:
    return (difference > 0) - (difference < 0)


def name_arms(comparison: dict[str, Any], first: str, second: str) -> dict[str, Any]:
    """Call the two arms by their names."""
    return {{"first": first, "second": second}.get(key, key): value for key, value in comparison.items()}


def rubric(engine: EngineConfig) -> RubricConfig:
    """Give a rubric judge of two aspects whose verdict is one constrained token."""
    aspects = [AspectConfig(name="helpfulness"), AspectConfig(name="clarity", weight=0.5)]
    return RubricConfig(kind="rubric", engine=engine, aspects=aspects, constrained=True)


def offline(model: Path) -> OfflineConfig:
    """Give the offline engine."""
    return OfflineConfig(name="vllm", model=str(model), dtype="float32", kv_cache_mb=CACHE_MB, max_num_seqs=CONCURRENCY)


def reward(model: Path, engine: Any) -> RewardModelConfig:
    """Give a reward model."""
    return RewardModelConfig(kind="reward_model", model=str(model), engine=engine, kv_cache_mb=CACHE_MB)


def texts() -> list[str]:
    """Read what the tokenizer is trained on and what answers are made of: the project's own pages."""
    return [page.read_text() for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]]


def make_items(n_candidates: int) -> list[Item]:
    """Make prompts about films with k answers each: 5 to 40 words from the project's pages."""
    dice = random.Random(0)
    words = [word for word in " ".join(texts()).split() if word.isalpha()]
    lines = (ROOT / "data/prompts/film_reviews.jsonl").read_text().splitlines()
    return [
        Item(
            candidate_id=f"candidate-{row}",
            prompt_id=f"prompt-{row // K}",
            messages=[{"role": "user", "content": json.loads(lines[row // K])["prompt"]}],
            text=" ".join(dice.choices(words, k=dice.randint(5, 40))),
            reference_answer=None,
            columns={},
        )
        for row in range(n_candidates)
    ]


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    table = Table("judge", "engine", "scored", "tokens/s", "seconds", "start s", "max difference", "same order")
    for name, comparison in report.items():
        if isinstance(comparison, dict):
            for engine, arm in list(comparison.items())[:2]:
                cells = [arm["scored"], arm["tokens_per_s"], arm["score_s"], arm["start_s"]]
                difference = f"{comparison['max_difference']:.1e}"
                table.add_row(name, engine, *map(str, cells), difference, f"{comparison['same_order']:.2%}")
    Console().print(table)
    print("passed" if report["passed"] else "FAILED: scores within 1e-3, the order of 99 % of pairs, nothing unscored")


if __name__ == "__main__":
    main()
