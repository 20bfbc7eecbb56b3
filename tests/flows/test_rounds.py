"""Round after round with real parts: refusals, retries, replay, an averaged reference, stop rules, the weekly cycle."""

import json
import os
from pathlib import Path

import pyarrow.compute as pc
import pytest
import yaml

from flows.store import Store

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[2] / "data"
JUDGES = """
from collections import Counter
from math import log

def shorter(prompts, completions, **columns):
    return [-float(len(messages[0]["content"])) for messages in completions]

def longer(prompts, completions, **columns):
    return [float(len(messages[0]["content"])) for messages in completions]

def rare(prompts, completions, **columns):
    words = [messages[0]["content"].lower().split() for messages in completions]
    counts = Counter(word for answer in words for word in answer)
    return [-sum(log(counts[word]) for word in answer) / max(1, len(answer)) for answer in words]

def flat(prompts, completions, **columns):
    return [0.5] * len(completions)
"""


def write_prompts(folder: Path, n_train: int) -> None:
    lines = (DATA / "prompts" / "film_reviews.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    train = [row for row in rows if row.get("split", "train") == "train"][:n_train]
    held_out = [row for row in rows if row.get("split") == "eval"][:6]
    (folder / "prompts.jsonl").write_text("\n".join(json.dumps(row) for row in [*train, *held_out]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a recipe whose judges like short answers."""
    folder = tmp_path_factory.mktemp("rounds")
    (folder / "judges_of_rounds.py").write_text(JUDGES)
    write_prompts(folder, 40)
    recipe = {
        "name": "rounds",
        "rounds": 2,
        "policy": {"model": str(DATA / "models" / "writer")},
        "prompts": {"path": "prompts.jsonl", "per_round": 20},
        "generation": {
            "engine": {"name": "transformers", "dtype": "float32", "max_model_len": 192},
            "k": 3,
            "sampling": {"max_new_tokens": 48},
            "mix": [{"role": "former", "k": 1}],
        },
        "judging": {
            "annotator": {"kind": "verifier", "function": "judges_of_rounds:shorter"},
            "pairing": {"chosen_must_finish": False},  # what was cut is left to the filters
        },
        "training": {
            "loss": {"name": "dpo", "beta": 0.1},
            "learning_rate": 1.0e-3,
            "batch_size": 10,
            "warmup_share": 0.0,
            "reference": "ema",
        },
        "evaluation": {
            "judge": {"kind": "verifier", "function": "judges_of_rounds:shorter"},
            "k": 2,
            "gate": {"preset": "demo"},
        },
        "iteration": {"start": "last_good", "replay_share": 0.3},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def run(served_prefloop, folder):
    """Run the recipe with some fields changed, in one workspace for all tests."""

    def call(*sets: str, code: int = 0) -> dict:
        options = [part for one in sets for part in ("--set", one)]
        return served_prefloop(
            "run", folder / "recipe.yaml", "--workspace", folder / "workspace", "--json", *options,
            code=code, PYTHONPATH=os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        ).json  # fmt: skip

    return call


@pytest.fixture(scope="module")
def two_rounds(run) -> dict:
    """A run of two rounds; the first one passes."""
    summary = run()
    assert summary["rounds"][0]["decision"] == "pass"
    return summary


@pytest.fixture(scope="module")
def store(folder) -> Store:
    return Store(folder / "workspace")


def round_of(store: Store, summary: dict, name: str) -> dict:
    return json.loads((store.root / "runs" / summary["run"] / name / "round.json").read_text())


def manifest(store: Store, result: dict, task: str, stage: str):
    outcome = next(one for one in result["stages"][task] if one["stage"] == stage)
    return store.dataset(stage, outcome["key"]).manifest()


def test_three_tenths_of_the_second_rounds_pairs_are_replayed(two_rounds, store):
    first, second = (round_of(store, two_rounds, f"round-0{number}") for number in (1, 2))
    kept = manifest(store, second, "filtering", "filtering").rows["part"]
    mixed = manifest(store, second, "filtering", "replay")
    wanted = round(0.3 / 0.7 * kept)
    assert mixed.facts["replayed"] == min(wanted, manifest(store, first, "filtering", "filtering").rows["part"])
    assert mixed.rows["part"] == kept + mixed.facts["replayed"]
    trained = manifest(store, second, "training", "policies").facts
    assert trained["pairs_in"] == mixed.rows["part"]
    assert two_rounds["rounds"][1]["replayed"] == mixed.facts["replayed"]
    assert [one["stage"] for one in first["stages"]["filtering"]] == ["filtering"]


def test_the_second_round_is_tied_to_the_average_of_the_start_and_the_accepted_policy(two_rounds, store):
    first, second = (round_of(store, two_rounds, f"round-0{number}") for number in (1, 2))
    average = manifest(store, second, "training", "averages")
    assert average.parts["new"] == first["policy"]["key"]
    policy = manifest(store, second, "training", "policies")
    assert policy.parts["reference"] == average.key
    assert policy.parts["start"] == first["policy"]["key"]


def test_the_second_round_mixes_in_answers_of_the_policy_before(two_rounds, store):
    first, second = (round_of(store, two_rounds, f"round-0{number}") for number in (1, 2))
    assert len(first["stages"]["generation"]) == 1
    own, before = (store.dataset("generation", one["key"]).read() for one in second["stages"]["generation"])
    assert pc.unique(own["policy"]).to_pylist() == [first["policy"]["key"]]
    assert pc.unique(before["policy"]).to_pylist() == [manifest(store, first, "training", "policies").parts["start"]]


def test_the_last_good_policy_stands_in_the_runs_folder(two_rounds, store):
    named = json.loads((store.root / "runs" / two_rounds["run"] / "policy.json").read_text())
    assert named["policy"] == two_rounds["final"]["policy"]
    assert named["round"] == two_rounds["final"]["round"]


FLAT = "evaluation.judge.function=judges_of_rounds:flat"


def test_a_refused_round_is_retried_more_gently_on_the_same_pairs(two_rounds, run, store):
    retry = ["iteration.on_refusal=retry", "iteration.retry.times=1", "rounds=1", FLAT]
    summary = run(*retry)
    assert [(one["round"], one["attempt"], one["decision"]) for one in summary["rounds"]] == [
        (1, 0, "keep"), (1, 1, "keep"),
    ]  # fmt: skip
    results = [round_of(store, summary, name) for name in ("round-01", "round-01-retry-1")]
    configs = [manifest(store, result, "training", "policies").parts["config"] for result in results]
    assert [config["learning_rate"] for config in configs] == [1e-3, 5e-4]
    assert [config["loss"]["beta"] for config in configs] == [0.1, 0.2]
    assert len({result["stages"]["filtering"][0]["key"] for result in results}) == 1
    assert summary["final"]["round"] == 0


def test_a_refused_round_stops_the_run_where_the_recipe_says_so(two_rounds, run):
    summary = run("iteration.on_refusal=stop", FLAT, code=3)
    assert summary["stopped"]["rule"] == "refusal"
    assert len(summary["rounds"]) == 1


@pytest.mark.parametrize(
    "rule",
    ["no_gain_rounds=1", "annotator_only=true", "min_entropy_share=1", "min_distinct_share=1", "max_kl=0.000001"],
)
def test_each_stop_rule_ends_a_run_before_its_last_round(two_rounds, run, rule):
    collapsing = {"min_entropy_share": "rare", "min_distinct_share": "longer"}
    annotator = collapsing.get(rule.partition("=")[0])
    judge = f"judging.annotator.function=judges_of_rounds:{annotator}" if annotator else FLAT
    summary = run(f"iteration.stop.{rule}", judge, code=3)
    assert summary["stopped"]["rule"] == rule.partition("=")[0]
    assert len(summary["rounds"]) == 1


def test_new_prompts_begin_a_run_at_the_last_good_policy(two_rounds, run, store, folder):
    again = run()
    assert (again["run"], again["built_stages"]) == (two_rounds["run"], 0)
    write_prompts(folder, 60)
    second = run()
    assert second["cycle"] == 2
    begun = json.loads((store.root / "runs" / second["run"] / "run.json").read_text())
    assert begun["start"] == two_rounds["final"]["policy"]
    assert len(second["rounds"]) == 1
    trained = [
        set(pc.unique(store.dataset("generation", one["key"]).read()["prompt_id"]).to_pylist())
        for summary, name in ((two_rounds, "round-01"), (two_rounds, "round-02"), (second, "round-01"))
        for one in round_of(store, summary, name)["stages"]["generation"][:1]
    ]
    assert sum(map(len, trained)) == len(set.union(*trained)) == 60
    assert second["rounds"][0]["replayed"] > 0
