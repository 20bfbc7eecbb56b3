"""A training shares prompts by itself, falls back by itself, and notices a wrong plan."""

import dataclasses
import logging
import math

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, MistralConfig

from generation.engine import PolicyFiles
from generation.render import load_tokenizer
from training import pair_dataset
from training.prefix.plan import plan_batch
from training.train import train

pytestmark = pytest.mark.slow


def ignore(*_):
    """Take a step's progress."""


def values(result, name):
    return [row["value"] for row in result.metrics.to_pylist() if row["name"] == name]


@pytest.fixture(scope="module")
def windowed(start, tmp_path_factory):
    """A policy whose layers see four tokens back."""
    sizes = AutoConfig.from_pretrained(start.model).to_dict()
    names = (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "max_position_embeddings", "pad_token_id", "bos_token_id", "eos_token_id",
    )  # fmt: skip
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("models") / "windowed"
    config = MistralConfig(**{name: sizes[name] for name in names}, sliding_window=4)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    load_tokenizer(start).save_pretrained(folder)
    return PolicyFiles(model=str(folder), key="start")


def test_a_sliding_window_trains_as_trl_does_and_says_so(job, vary, windowed, caplog):
    caplog.set_level(logging.WARNING)
    result = train(vary(job, {"batch_size": 12}, start=windowed, reference=windowed), ignore)
    assert result.prompts_not_shared is not None
    assert result.prompts_not_shared.startswith("mistral sees 4 tokens back")
    assert f"prompts are not shared: {result.prompts_not_shared}" in caplog.text
    assert values(result, "loss")[1] == pytest.approx(math.log(2), abs=1e-6)


def test_sharing_changes_no_metric_of_a_whole_training(job, vary, caplog):
    shared = train(job, ignore)
    plain = train(vary(job, {"prefix_sharing": False}, output=job.output.with_name("plain")), ignore)
    assert shared.prompts_not_shared is None
    assert plain.prompts_not_shared == "training.prefix_sharing is off"
    for name in ("loss", "grad_norm", "entropy", "logps/chosen", "rewards/margins", "mean_token_accuracy"):
        assert values(shared, name) == pytest.approx(values(plain, name), abs=1e-4)


def test_a_wrong_plan_is_noticed_before_the_first_step(job, monkeypatch):
    def wrong(prompts, answers):
        plan = plan_batch(prompts, answers)
        return dataclasses.replace(plan, position_ids=plan.position_ids + plan.position_ids % 3)

    monkeypatch.setattr(pair_dataset, "plan_batch", wrong)
    with pytest.raises(ValueError, match="before the first step the trainer's loss is"):
        train(job, ignore)
