"""Reward models: a sequence classifier with one output, made of a language model or taken as it is, and its padding.

transformers reads the reward at a row's last token that differs from the model's pad id. With pad = EOS, which TRL sets
where a tokenizer has no pad token, that is the token before EOS, while vLLM reads EOS itself. A language model becomes
a reward model that is read at the very last token by all of them; a reward model stays one that is read where it was.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any  # models of untyped libraries

from training.config import LoraConfig
from training.policies.policy import Policy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NO_LIMIT = 1_000_000  # tokenizers without a limit state one of about 1e30


@dataclass(frozen=True)
class Padding:
    """Which id rows are padded with.

    Attributes:
        train: While training; ends no row of a model that is read at the very last token.
        stored: In the written config; None = none, then whoever batches rows has to choose.
    """

    train: int
    stored: int | None


def read_reward_config(start: Policy) -> Any:
    """Read the model's config.

    Raises:
        ValueError: It is a classifier with another number of outputs than one.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(start.model, revision=start.revision, trust_remote_code=start.trust_remote_code)
    if is_classifier(config) and config.num_labels != 1:
        raise ValueError(
            f"{start.model} has {config.num_labels} outputs, a reward model has one: take a language model, or a "
            "reward model with one output"
        )
    return config


def is_classifier(config: Any) -> bool:
    """Tell whether a model was saved as a sequence classifier."""
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or [])


def find_limit(config: Any, tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """Give the most tokens of a row that the judge takes; None where neither model nor tokenizer states a limit."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    stated = [limit for limit in (positions, tokenizer.model_max_length) if limit and limit < _NO_LIMIT]
    return min(stated, default=None)


def choose_padding(config: Any, tokenizer: "PreTrainedTokenizerBase", last_ids: Iterable[int]) -> Padding:
    """Choose the pad id.

    Args:
        config: The model's config.
        tokenizer: Its tokenizer.
        last_ids: The last token of every row.
    """
    text: Any = config.get_text_config()
    own: Any = text.pad_token_id if is_classifier(config) else tokenizer.pad_token_id
    ends = set(last_ids)
    if own is not None and (is_classifier(config) or own not in ends):
        return Padding(own, own)
    return Padding(next(token for token in range(text.vocab_size) if token not in ends), None)


def load_reward_model(start: Policy, seed: int) -> Any:
    """Load a reward model in float32 with dropout off; a language model gets a fresh head.

    Args:
        start: Where it lies.
        seed: Of the head.

    Raises:
        ValueError: Weights other than the head's are missing.
        OSError: There is no such model, or its weights are pickled.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        start.model,
        revision=start.revision,
        trust_remote_code=start.trust_remote_code,
        num_labels=1,
        dtype="float32",
        use_safetensors=True,  # never a pickle, which could run code
        output_loading_info=True,
    )
    heads = set() if is_classifier(read_reward_config(start)) else _head_weights(model)
    if missing := sorted(set(loading["missing_keys"]) - heads):
        raise ValueError(
            f"{start.model} lacks weights ({', '.join(missing[:3])}), they would be random: take a whole model"
        )
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # for good: a trainer's train() would bring dropout back
        if isinstance(getattr(module, "attention_dropout", None), float):
            setattr(module, "attention_dropout", 0.0)  # noqa: B010  modules declare no such field
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _head_weights(model: Any) -> set[str]:
    """Name the weights outside the body."""
    return {name for name, _ in model.named_parameters() if not name.startswith(f"{model.base_model_prefix}.")}


def put_reward_adapter(model: Any, lora: LoraConfig, seed: int) -> Any:
    """Put a fresh LoRA adapter on all linear layers of the body; the head is trained whole."""
    import torch
    from peft import LoraConfig as PeftLoraConfig
    from peft import get_peft_model

    from training.policies.adapter import peft_warnings_off

    torch.manual_seed(seed)
    fresh = PeftLoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules="all-linear", task_type="SEQ_CLS"
    )
    with peft_warnings_off():
        return get_peft_model(model, fresh)
