"""Judges through the command line and through a whole run, with a server on loopback that prefers longer answers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from flows.identities import identify_model
from tests.command_line import Prefloop
from tests.fake_openai import FakeServer, chat_body, status
from tests.flows.conftest import Small

_ANSWER = re.compile(r"\[([0-9a-f]{16}) ANSWER [AB]\]\n(.*?)\n\[\1 END\]", re.DOTALL)


def prefer_longer(body: dict) -> dict:
    """Answer a duel with one letter, its log-probs beside it."""
    (_, first), (_, second) = _ANSWER.findall(body["messages"][-1]["content"])
    winner, loser = ("A", "B") if len(first) > len(second) else ("B", "A")
    top = [{"token": winner, "logprob": -0.105}, {"token": loser, "logprob": -2.302}]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": winner},
        "logprobs": {"content": [top[0] | {"top_logprobs": top}]},
        "finish_reason": "stop",
    }
    return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 1}}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        server.answer = prefer_longer
        yield server


@pytest.fixture
def answers(prefloop: Prefloop, tmp_path: Path) -> list[str]:
    """Import four answers to each of three questions, the prompts mixed; give the options that name them."""
    rows = [{"prompt": f"Say {p}", "response": "long " * n} for n in range(1, 5) for p in "abc"]
    (tmp_path / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prefloop("import", tmp_path / "answers.jsonl", "--output", tmp_path / "in")
    return [f"--{name}={tmp_path / 'in' / name}.parquet" for name in ("prompts", "candidates")]


def engine(server: FakeServer, more: str = "") -> str:
    return f"--set=engine={{name: openai, base_url: '{server.base_url}', model: m, max_retries: 0{more}}}"


@pytest.mark.slow
def test_a_tournament_of_each_prompt_ranks_its_answers_and_is_not_asked_for_twice(server, prefloop, answers, tmp_path):
    command = ["judge", "--kind", "pairwise", engine(server), *answers, "--output", tmp_path / "scores.parquet"]
    assert prefloop(*command, "--json").json["unscored"] == {}
    asked = len(server.bodies)
    assert asked == 3 * 2 * (2 + 2 + 2)  # prompts, orders, Swiss rounds of two duels
    scores = {row["candidate_id"]: row for row in pq.read_table(tmp_path / "scores.parquet").to_pylist()}
    texts = pq.read_table(tmp_path / "in" / "candidates.parquet").to_pylist()
    for prompt in {row["prompt_id"] for row in texts}:
        ranked = sorted((row for row in texts if row["prompt_id"] == prompt), key=lambda row: len(row["text"]))
        values = [scores[row["candidate_id"]]["score"] for row in ranked]
        assert values == sorted(values)
        assert len(set(values)) == 4
    assert sum(row["n_tokens_in"] for row in scores.values()) == 100 * asked
    prefloop(*command)
    assert len(server.bodies) == asked


@pytest.mark.slow
def test_a_spent_budget_stops_with_a_code_of_its_own_and_the_same_command_goes_on(server, prefloop, answers, tmp_path):
    budget = ", concurrency: 1, budget: {max_calls: 20}"
    command = ["judge", "--kind", "pairwise", engine(server, budget), *answers, "--output", tmp_path / "scores.parquet"]
    stopped = prefloop(*command, code=3)
    assert "the budget is spent" in stopped.stderr
    assert len(server.bodies) == 20
    assert not (tmp_path / "scores.parquet").exists()
    prefloop(*command)
    assert len(server.bodies) == 36


@pytest.mark.slow
def test_too_many_unscored_answers_show_what_the_judge_said_and_only_they_are_asked_for_again(
    server, prefloop, answers, tmp_path
):
    def mumble(body: dict) -> dict:
        reply = prefer_longer(body)
        position = {"token": "Hm", "logprob": -0.1}
        if "Say a\n" in body["messages"][-1]["content"]:
            reply["choices"][0]["logprobs"] = {"content": [position | {"top_logprobs": [position]}]}
            reply["choices"][0]["message"]["content"] = "Hm"
        return reply

    server.answer = mumble
    command = ["judge", "--kind", "pairwise", engine(server), *answers, "--output", tmp_path / "scores.parquet"]
    failed = prefloop(*command, code=1)
    assert "4 of 12 candidates stayed unscored" in failed.stderr
    assert "'Hm'" in failed.stderr or '"Hm"' in failed.stderr
    server.answer, before = prefer_longer, len(server.bodies)
    prefloop(*command)
    assert len(server.bodies) - before == 12


@pytest.mark.slow
def test_the_few_answers_that_the_server_failed_are_asked_for_once_more(server, prefloop, answers, tmp_path):
    server.script = [status(500)]
    server.answer = lambda _: chat_body(["Fine.\nScore: 4"])
    command = ["judge", "--kind", "rubric", "--set", "verdict=written", engine(server), *answers]
    done = prefloop(*command, "--max-unscored", "0.5", "--json", "--output", tmp_path / "scores.parquet").json
    assert done["unscored"] == {}
    assert len(server.bodies) == 12 + 1


@pytest.mark.slow
def test_a_server_that_refuses_the_key_ends_the_command_at_once(server, prefloop, answers, tmp_path):
    server.script = [status(401, "bad key")] * 99
    failed = prefloop(
        "judge", "--kind", "pairwise", engine(server), *answers, "--output", tmp_path / "scores.parquet", code=1
    )
    assert "--set.engine.api_key_env" in failed.stderr


@pytest.mark.slow
def test_a_run_with_a_panel_scores_pairs_and_compares_at_the_gate(server, served_prefloop, small: Small, tmp_path):
    members = [
        {"judge": {"kind": "verifier", "function": "judges_of_tests:by_length"}},
        {
            "judge": {
                "kind": "pairwise",
                "engine": {"name": "openai", "base_url": server.base_url, "model": "m"},
                "rounds": 1,
            },
            "weight": 0.5,
        },
    ]
    annotator = json.dumps({"kind": "panel", "members": members})
    command = ["run", small.recipe, "--workspace", tmp_path / "w", "--set", f"judging.annotator={annotator}"]
    command += ["--set", "prompts.per_round=4", "--set", "judging.max_unscored=0.2", "--json"]
    served_prefloop(*command, PYTHONPATH=str(small.judges))
    kinds = {
        json.loads(path.read_text())["parts"].get("judge", {"kind": "panel"})["kind"]
        for path in (tmp_path / "w" / "stages" / "judging").glob("*/manifest.json")
    }
    assert kinds == {"verifier", "pairwise", "panel"}
    asked = len(server.bodies)
    assert asked
    served_prefloop(*command, PYTHONPATH=str(small.judges))
    assert len(server.bodies) == asked


@pytest.mark.slow
def test_a_policy_judges_its_own_answers(served_prefloop, small: Small, tmp_path):
    from benchmarks.random_llama import write_language_model

    readme = Path(__file__).parents[2] / "README.md"
    policy = write_language_model(tmp_path / "policy", [readme.read_text()])
    annotator = {
        "kind": "self",
        "engine": {"name": "vllm", "dtype": "float32", "max_num_seqs": 16, "kv_cache_mb": 64},
        "aspects": [{"name": "clarity"}],
        "constrained": True,
    }
    served_prefloop(
        "run", small.recipe, "--workspace", tmp_path / "w", "--set", f"policy.model={policy}",
        "--set", f"judging.annotator={json.dumps(annotator)}", "--set", "judging.pairing.chosen_must_finish=false",
        "--set", "prompts.per_round=4", "--set", "generation.sampling.max_new_tokens=12",
        "--set", "filtering.filters=[{name: length, min_chars: 100000}]",  # the rest of the run is not of interest
        PYTHONPATH=str(small.judges), code=1,
    )  # fmt: skip
    [path] = (tmp_path / "w" / "stages" / "judging").glob("*/manifest.json")
    judge = json.loads(path.read_text())["parts"]["judge"]
    assert (judge["kind"], judge["engine"]["model"]) == ("self", identify_model(str(policy), None))
    rows = pq.read_table(path.parent / "part-00000.parquet").to_pylist()
    assert len(rows) == 16
    assert all(1 <= row["score"] <= 5 for row in rows)
    assert {name for row in rows for name, _ in row["aspects"]} == {"clarity", "clarity.mass"}


@pytest.mark.slow
def test_the_implicit_reward_of_a_run_s_policies_labels_its_pairs(served_prefloop, small: Small, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    fields = yaml.safe_load(small.recipe.read_text())
    other, source = tmp_path / "other", fields["policy"]["model"]
    model = AutoModelForCausalLM.from_pretrained(source)
    with torch.no_grad():
        model.lm_head.weight.add_(0.3 * torch.randn(model.lm_head.weight.shape, generator=torch.manual_seed(1)))
    model.save_pretrained(other)
    AutoTokenizer.from_pretrained(source).save_pretrained(other)
    annotator = {"kind": "implicit_reward", "policy": {"role": "good"}, "reference": {"model": str(other)}, "beta": 0.5}
    served_prefloop(
        "run", small.recipe, "--workspace", tmp_path / "w", "--set", f"judging.annotator={json.dumps(annotator)}",
        "--set", "prompts.per_round=4", PYTHONPATH=str(small.judges),
    )  # fmt: skip
    rows = [
        row
        for path in (tmp_path / "w" / "stages" / "judging").glob("*/part-*.parquet")
        for row in pq.read_table(path).to_pylist()
        if row["judge"] == "implicit_reward"
    ]
    assert len(rows) == 16 + 2 * 16
    for row in rows:
        aspects = dict(row["aspects"])
        assert row["score"] == pytest.approx(0.5 * (aspects["logp_policy"] - aspects["logp_reference"]))
    candidates = {
        row["candidate_id"]: row["logprob_sum"]
        for path in (tmp_path / "w" / "stages" / "generation").glob("*/part-*.parquet")
        for row in pq.read_table(path).to_pylist()
    }
    own = [
        row
        for row in rows
        if dict(row["aspects"])["logp_policy"] == pytest.approx(candidates[row["candidate_id"]], abs=1e-3)
    ]
    assert len(own) >= 32  # what the policy wrote itself has the log-probs that it was drawn with


def test_a_model_is_missed_in_one_line_where_the_hub_can_not_be_reached(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")  # nobody listens there
    with pytest.raises(FileNotFoundError, match="nowhere/none: neither a folder here, nor on the Hugging Face Hub"):
        identify_model("nowhere/none", None)
