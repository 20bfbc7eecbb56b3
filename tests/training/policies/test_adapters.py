"""Adapters: on 4 bits, on the wrong base, merged into the right one."""

import json
import math
import shutil
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from generation.engine import PolicyFiles
from generation.render import load_tokenizer
from training.logprobs import sequence_logprobs
from training.policies.adapter import peft_warnings_off, quantization
from training.policies.base_mark import MARK, check_mark, fingerprint
from training.policies.policy import load_policy, write_policy
from training.train import train

LORA = {"rank": 4, "alpha": 8}
PROMPTS, ANSWERS = [[1, 3, 60, 61], [1, 3, 70]], [[80, 81, 82, 2], [90, 91, 92, 93, 2]]


def ignore(*progress):
    """Take a step's progress."""


def logprobs(*policy, **options):
    return sequence_logprobs(load_policy(*policy, **options), PROMPTS, ANSWERS, 0, 2)


def values(result, name):
    return [row["value"] for row in result.metrics.to_pylist() if row["name"] == name]


@pytest.fixture(scope="module")
def trained(start, other, pairs, tmp_path_factory):
    """A folder with an adapter that was trained on the start."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(5)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapters") / "trained"
    with peft_warnings_off():
        model = get_peft_model(load_policy(start.model), lora)
    write_policy(model, load_tokenizer(start), folder)
    return folder


@pytest.mark.slow
def test_an_adapter_is_trained_on_a_base_in_4_bits_and_stands_on_the_whole_one(job, vary, start, pairs):
    config = {"lora": LORA | {"quantize": "nf4"}, "epochs": 4}
    result = train(vary(job, config, pairs=pairs.slice(0, 4)), ignore)

    assert result.step0.observed_loss == pytest.approx(math.log(2), abs=1e-6)
    assert result.step0.margin == pytest.approx(0.0, abs=1e-5)
    assert values(result, "loss")[-1] < 0.6
    saved = json.loads((job.output / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == start.model
    assert not (job.output / "config.json").exists()
    whole = logprobs(start.model, str(job.output))
    assert np.abs(whole - logprobs(start.model)).max() > 0.1
    four = logprobs(start.model, str(job.output), four_bits="float32")
    assert 1e-3 < np.abs(whole - four).max() < 5


@pytest.mark.slow
def test_stored_log_probs_of_whole_weights_do_not_stop_a_training_in_4_bits(
    job, vary, pairs, start, tokenizer, table_of
):
    rows = pairs.to_pylist()
    model = load_policy(start.model)
    for row in rows:
        prompt = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, return_dict=False)
        ids = [row[f"{side}_token_ids"] for side in ("chosen", "rejected")]
        sums = sequence_logprobs(model, [prompt] * 2, ids, 0, 2)
        row |= {"chosen_logprob_sum": float(sums[0]), "rejected_logprob_sum": float(sums[1])}
    result = train(vary(job, {"lora": LORA | {"quantize": "nf4"}}, pairs=table_of(rows)), ignore)
    assert result.step0.stored_answers == 0


def test_4_bits_without_bitsandbytes_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "prefloop\[qlora\]"'):
        quantization("float32")


def test_an_adapter_on_another_base_of_the_same_shape_is_refused(trained, start, other):
    assert (trained / MARK).is_file()
    load_policy(start.model, str(trained))
    with pytest.raises(ValueError, match=f"was trained on {start.model}, and {other.model} has other weights"):
        load_policy(other.model, str(trained))


def test_an_adapter_for_other_layers_is_refused(trained, start, tmp_path):
    config = AutoModelForCausalLM.from_pretrained(start.model).config
    config.intermediate_size = 96
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "narrow")
    foreign = shutil.copytree(trained, tmp_path / "foreign")
    (foreign / MARK).unlink()
    with pytest.raises(ValueError, match=r"does not fit .*narrow, its layers are others"):
        load_policy(str(tmp_path / "narrow"), str(foreign))


def test_an_adapter_for_another_model_of_the_hub_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/one"}')
    check_mark(tmp_path, "org/one")
    with pytest.raises(ValueError, match="was trained on org/one, not on org/two"):
        check_mark(tmp_path, "org/two")


def test_a_moved_base_is_the_same_base(start, other, tmp_path):
    moved = shutil.copytree(start.model, tmp_path / "moved")
    assert fingerprint(str(moved)) == fingerprint(start.model) != fingerprint(other.model)
    assert fingerprint("org/model") is None


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["initial", "base"])
def test_the_reference_of_a_started_adapter_is_what_the_recipe_says(
    job, vary, trained, start, pairs, tokenizer, reference
):
    adapted = PolicyFiles(start.model, "adapted", str(trained))
    tied = adapted if reference == "initial" else start
    one = pairs.slice(0, 4)
    result = train(vary(job, {"lora": LORA, "reference": reference}, pairs=one, start=adapted, reference=tied), ignore)

    prompts = [
        tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, return_dict=False)
        for row in one.to_pylist()
    ]
    chosen, rejected = one["chosen_token_ids"].to_pylist(), one["rejected_token_ids"].to_pylist()
    h = [
        sequence_logprobs(load_policy(start.model, str(trained)), prompts, ids, 0, 4)
        - sequence_logprobs(load_policy(tied.model, tied.adapter), prompts, ids, 0, 4)
        for ids in (chosen, rejected)
    ]
    expected = np.logaddexp(0.0, -0.1 * (h[0] - h[1])).mean()
    assert result.step0.observed_loss == pytest.approx(expected, abs=1e-5)
    assert (abs(expected - math.log(2)) < 1e-6) == (reference == "initial")


@pytest.mark.slow
def test_a_merged_adapter_has_the_logits_of_the_adapter_on_its_base(prefloop, trained, start, tmp_path):
    prefloop("merge", trained, "--output", tmp_path / "merged")

    merged, adapted = load_policy(str(tmp_path / "merged")), load_policy(start.model, str(trained))
    ids = torch.tensor([PROMPTS[0] + ANSWERS[0]])
    with torch.no_grad():
        assert torch.allclose(merged(ids).logits, adapted(ids).logits, atol=1e-5)
        assert not torch.allclose(merged(ids).logits, load_policy(start.model)(ids).logits, atol=1e-1)
    moved = PolicyFiles(str(tmp_path / "merged"), "merged")
    assert load_tokenizer(moved).chat_template == load_tokenizer(start).chat_template
    assert "not empty" in prefloop("merge", trained, "--output", tmp_path / "merged", code=1).stderr
