"""LoRA adapters (arXiv 2106.09685) on a model: load one, or put a fresh one on."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any  # models of untyped libraries

from training.config import LoraConfig


def load_adapter(model: Any, folder: str) -> Any:
    """Put the adapter in a folder on a model; it can be trained further."""
    from peft import PeftModel

    with _peft_warnings_off():
        return PeftModel.from_pretrained(model, folder, is_trainable=True)


def put_adapter(model: Any, lora: LoraConfig, seed: int) -> Any:
    """Put a fresh LoRA adapter on all linear layers but the head (at first it changes nothing), or keep the one there.

    Raises:
        ValueError: The adapter there has another rank, alpha or dropout than the recipe.
    """
    import torch
    from peft import LoraConfig as PeftLoraConfig
    from peft import PeftModel, get_peft_model

    if not isinstance(model, PeftModel):
        torch.manual_seed(seed)
        fresh = PeftLoraConfig(
            r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules="all-linear",
            task_type="CAUSAL_LM",
        )  # fmt: skip
        with _peft_warnings_off():
            return get_peft_model(model, fresh)
    there: Any = model.peft_config["default"]
    found = LoraConfig(rank=there.r, alpha=there.lora_alpha, dropout=there.lora_dropout)
    if found != lora:
        raise ValueError(f"the start policy's adapter has {found}, but training.lora says {lora}: give the same")
    return model


@contextmanager
def _peft_warnings_off() -> Iterator[None]:
    """Leave out the one warning that peft 0.21 causes by asking a model for a name that transformers 5.23 replaced."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        yield
