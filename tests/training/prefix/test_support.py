"""Which models let prompts be shared."""

import re

import pytest
from peft import PrefixTuningConfig, get_peft_model
from transformers import (
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    NemotronConfig,
    Qwen2Config,
)

from training.prefix.support import why_not_shared

GROUPED = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.3,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (MistralConfig(**GROUPED, sliding_window=16), "mistral sees 16 tokens back, and the longest pair has 100"),
        (
            Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=16, max_window_layers=1),
            "qwen2 sees 16 tokens back",
        ),
        (
            Lfm2Config(**GROUPED, layer_types=["conv", "full_attention"]),
            "layers of the kind conv",
        ),
        (Gemma2Config(**GROUPED, head_dim=8), "runs with eager attention"),
        (MixtralConfig(**GROUPED, num_local_experts=2), "auxiliary loss of mixtral"),
        (FalconConfig(**{**GROUPED, "num_key_value_heads": None}), "transformers lets no other attention"),
        (NemotronConfig(**GROUPED), r"a trial with nemotron is .* nats a token off"),  # it passes no arguments on
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_what_does_not_attend_to_all_before_it_is_refused(tiny_model, config, reason):
    found = why_not_shared(tiny_model(config), 100, "float32")
    assert found is not None
    assert re.search(reason, found)


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "config",
    [
        MistralConfig(**GROUPED, sliding_window=100),
        Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=100),
        LlamaConfig(**GROUPED),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_a_window_no_narrower_than_the_data_is_allowed(tiny_model, config, compute):
    model = tiny_model(config).train()
    assert why_not_shared(model, 100, compute) is None
    assert model.training
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft 0.21 asks for the old name
def test_learned_prompts_are_refused(tiny_model):
    model = get_peft_model(
        tiny_model(LlamaConfig(**GROUPED)), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    )
    assert why_not_shared(model, 100, "float32") == "the adapter puts learned tokens before each prompt"
