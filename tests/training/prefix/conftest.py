"""Tiny models of several architectures, and trainings of them with and without shared prompts."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from training.arguments import trainer_arguments
from training.config import LoraConfig, TrainingConfig
from training.losses.catalogue import LOSSES
from training.objective import Objective
from training.order import Order
from training.pair_dataset import ReferenceValues, pair_dataset
from training.policies.adapter import put_adapter
from training.prefix.logprobs import shared_token_logprobs
from training.prefix.support import why_not_shared
from training.rows.examples import Answer, Example
from training.rows.pair_values import PairValues
from training.trainer import PairTrainer

VOCABULARY = 64
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 128, "initializer_range": 0.3,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROUPED = {**SIZES, "num_key_value_heads": 2}
CONFIGS = {
    "llama": LlamaConfig(**GROUPED),
    "qwen2": Qwen2Config(**GROUPED, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**GROUPED, head_dim=8),
    "mistral": MistralConfig(**GROUPED, sliding_window=None),
    "gemma": GemmaConfig(**GROUPED, head_dim=8),
    "gpt_neox": GPTNeoXConfig(**SIZES),
}


@pytest.fixture(scope="session")
def tiny_model():
    """Make a model of a config, always with the same weights."""

    def make(config):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval()

    return make


@dataclasses.dataclass
class Case:
    """What is trained, and how."""

    pairs: list
    model: str = "llama"
    loss: dict = dataclasses.field(default_factory=lambda: {"name": "dpo"})
    config: dict = dataclasses.field(default_factory=dict)
    steps: int = 2


@pytest.fixture(scope="session")
def histories(tiny_model, tokenizer, tmp_path_factory):
    """Train a case plainly and with shared prompts; give what was logged of each step."""
    folder = tmp_path_factory.mktemp("output")

    def run(case, share):
        fields = {"batch_size": len(case.pairs) // case.steps, "learning_rate": 1e-2, "lr_schedule": "constant"}
        config = TrainingConfig.model_validate({**fields, "warmup_share": 0.0, "loss": case.loss, **case.config})
        objective = Objective(LOSSES[config.loss.name], config.loss)
        model = tiny_model(CONFIGS[case.model])
        answers = [pair[1] for pair in case.pairs] + [pair[2] for pair in case.pairs]
        prompts = [pair[0] for pair in case.pairs] * 2
        sums = np.array([one.logprobs.sum() for one in shared_token_logprobs(model, prompts, answers, 8, config.dtype)])
        reference = ReferenceValues(PairValues(*np.split(sums, 2)))
        examples = [
            Example(str(row), str(prompt), prompt, *(Answer(ids, False, None, None) for ids in sides))
            for row, (prompt, *sides) in enumerate(case.pairs)
        ]
        rows = np.arange(len(examples))
        order = Order("shuffled", 3, rows, rows, config.batch_size)
        if config.lora:
            model = put_adapter(model, config.lora, 0)
        trainer = PairTrainer(
            model, padded(tokenizer), pair_dataset(examples, reference, ()),
            trainer_arguments(config, objective.trl_arguments, 0, str(folder)), objective, order, [],
        )  # fmt: skip
        if share:
            assert why_not_shared(model, 128, config.dtype) is None
            trainer.share_prompts()
        trainer.train()
        return [row for row in trainer.state.log_history if "grad_norm" in row]

    return lambda case: (run(case, False), run(case, True))


def padded(tokenizer):
    copied = copy.deepcopy(tokenizer)
    copied.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return copied


@pytest.fixture(scope="session")
def texts():
    """Draw random token ids of some length."""
    rng = np.random.default_rng(5)
    return lambda length: rng.integers(3, VOCABULARY, length).tolist()


@pytest.fixture(scope="session")
def case_of():
    return Case


@pytest.fixture(scope="session")
def lora():
    return LoraConfig(rank=4, alpha=8).model_dump()
