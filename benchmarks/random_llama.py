"""A random Llama that knows nothing, with a tokenizer of its own: what measures an engine where no weights can be had.

5 million parameters and 2,048 positions by default; as a language model or as a reward model with one output. The
tokenizer is a byte-level BPE in which each digit is a token of its own, trained on the texts at hand.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any  # arguments of many types

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_SPECIAL_TOKENS = ["<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>"]


def write_language_model(folder: Path, texts: Iterable[str], seed: int = 0, **sizes: Any) -> Path:
    """Save a random language model and give its folder back.

    Args:
        folder: Where to.
        texts: What the tokenizer is trained on.
        seed: Of the weights.
        sizes: Fields of LlamaConfig in place of the default ones.
    """
    from transformers import LlamaForCausalLM

    return _write(LlamaForCausalLM, folder, texts, seed, sizes)


def write_reward_model(folder: Path, texts: Iterable[str], seed: int = 0, **sizes: Any) -> Path:
    """Save a random reward model with one output and give its folder back; see `write_language_model`."""
    from transformers import LlamaForSequenceClassification

    return _write(LlamaForSequenceClassification, folder, texts, seed, {"num_labels": 1} | sizes)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> "PreTrainedTokenizerFast":
    """Train a tokenizer with a chat template and a system role."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=_SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|pad|>",
        additional_special_tokens=_SPECIAL_TOKENS[3:],
    )  # fmt: skip
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _write(kind: Any, folder: Path, texts: Iterable[str], seed: int, sizes: dict[str, Any]) -> Path:
    import torch
    from transformers import LlamaConfig

    fields: dict[str, Any] = {
        "vocab_size": 4096, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 5,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
        "initializer_range": 0.1, "tie_word_embeddings": True, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    } | sizes  # fmt: skip
    torch.manual_seed(seed)
    kind(LlamaConfig(**fields)).save_pretrained(folder)
    train_tokenizer(texts, fields["vocab_size"]).save_pretrained(folder)
    return folder
