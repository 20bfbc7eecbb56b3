"""What the engines' tests share: variables that must stand before anything imports torch, requests, an adapter."""

import os
from pathlib import Path

import pytest

from generation.config import VllmConfig
from generation.engine import PolicyFiles, Request
from generation.engines import engine_environment
from generation.identity import base_seed
from generation.render import load_tokenizer, render_prompt

os.environ.update(engine_environment(VllmConfig()))


@pytest.fixture(scope="session")
def requests(tiny_policy: Path) -> list[Request]:
    """Thirty-two questions to the tiny policy."""
    tokenizer = load_tokenizer(PolicyFiles(str(tiny_policy), "tiny"))
    conversations = [[{"role": "user", "content": f"What is two plus {row}?"}] for row in range(32)]
    return [
        Request(str(row), messages, render_prompt(tokenizer, messages), base_seed(0, 1, str(row), 4))
        for row, messages in enumerate(conversations)
    ]


@pytest.fixture(scope="session")
def tiny_adapter(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random LoRA adapter of rank 4 that changes the tiny policy a lot."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(2)
    base = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapters") / "adapter"
    get_peft_model(base, config).save_pretrained(folder)
    return folder
