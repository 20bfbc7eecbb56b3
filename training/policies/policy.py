"""Loading a policy: a model folder or Hub model, with or without a LoRA adapter on top."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol  # Any: models and keyword arguments of untyped libraries

from training.logprobs import Compute
from training.policies.adapter import load_adapter, quantization
from training.policies.base_mark import check_mark, write_mark

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Policy(Protocol):
    """Where a policy lies."""

    @property
    def model(self) -> str:
        """Folder with weights and tokenizer, or the id of a model on the Hugging Face Hub."""
        ...

    @property
    def key(self) -> str:
        """Identity that candidates carry as their `policy`."""
        ...

    @property
    def adapter(self) -> str | None:
        """Folder with a LoRA adapter on top of the model; None = the model as it is."""
        ...

    @property
    def revision(self) -> str | None:
        """Hub commit or tag; None = the newest, and for folders."""
        ...

    @property
    def trust_remote_code(self) -> bool:
        """Whether code in the model's repository may run."""
        ...


@dataclass(frozen=True)
class PolicyLimits:
    """What a policy's files say about sequences.

    Attributes:
        max_positions: Most tokens of prompt and answer; None = the model states no limit.
        stop_ids: Token ids that end an answer.
    """

    max_positions: int | None
    stop_ids: frozenset[int]


def load_tokenizer(policy: Policy) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of the policy's base model."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(policy.model, **_source(policy))


def read_limits(policy: Policy, tokenizer: "PreTrainedTokenizerBase") -> PolicyLimits:
    """Read the longest sequence and the stop tokens, without loading weights.

    Raises:
        ValueError: The tokenizer names no EOS token.
    """
    from transformers import AutoConfig, GenerationConfig

    end: Any = tokenizer.eos_token_id
    if end is None:
        raise ValueError(
            f"{policy.model}: its tokenizer names no eos_token; training needs to know what ends an answer"
        )
    config = AutoConfig.from_pretrained(policy.model, **_source(policy))
    try:
        generation = GenerationConfig.from_pretrained(policy.model, **_source(policy))
    except OSError:  # not every model has a generation_config.json; transformers then reads the model's config
        generation = GenerationConfig.from_model_config(config)
    eos = generation.eos_token_id
    stop_ids = {end, *(eos if isinstance(eos, list) else [eos])} - {None}
    return PolicyLimits(getattr(config.get_text_config(), "max_position_embeddings", None), frozenset(stop_ids))


def load_policy(
    model: str,
    adapter: str | None = None,
    dtype: str = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
    four_bits: Compute | None = None,
) -> "PreTrainedModel":
    """Load a policy for log-probs: in eval mode, dropout off, on the GPU if there is one.

    Args:
        model: Folder with weights, or the id of a model on the Hub.
        adapter: Folder with a LoRA adapter on top of it.
        dtype: Number format of the weights.
        revision: Hub commit or tag.
        trust_remote_code: Whether code in the model's repository may run.
        four_bits: Loads the model's linear layers in 4 bits, for products in this number format; the adapter and the
            rest stay as they are. None = whole weights.

    Raises:
        ValueError: The adapter's weights are pickled, or it was trained on another model; or the model is no language
            model, or not whole.
        OSError: There is no such model, or its weights are pickled.
        ModuleNotFoundError: 4 bits want bitsandbytes.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if adapter is not None:
        _check_adapter(Path(adapter), model)
    device = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
    quantized = {"quantization_config": quantization(four_bits), "device_map": {"": device}} if four_bits else {}
    found: Any = AutoModelForCausalLM.from_pretrained(
        model,
        dtype=dtype,
        revision=revision,
        trust_remote_code=trust_remote_code,
        use_safetensors=True,  # never a pickle, which could run code
        output_loading_info=True,
        **quantized,
    )
    loaded, loading = found
    _check_whole(loaded, loading["missing_keys"], model)
    for module in loaded.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # for good: a trainer's train() would bring dropout back
        if isinstance(getattr(module, "attention_dropout", None), float):
            setattr(module, "attention_dropout", 0.0)  # noqa: B010  modules declare no such field
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # bitsandbytes 0.50 else packs 4 bits for generation at the first answer, and no gradient comes through.
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010  modules declare no such field
    if adapter is not None:
        loaded = load_adapter(loaded, adapter)
    return loaded.to(device).eval()


def _check_whole(loaded: "PreTrainedModel", missing: Iterable[str], model: str) -> None:
    """Refuse what transformers loads all the same: a reward model, whose head it leaves out, and random weights."""
    if any(name.endswith("ForSequenceClassification") for name in loaded.config.architectures or []):
        raise ValueError(f"{model} is a reward model, which writes no answers: give a language model")
    if some := sorted(missing)[:3]:
        raise ValueError(f"{model} lacks weights ({', '.join(some)}), they would be random: take a whole model")


def _check_adapter(adapter: Path, model: str) -> None:
    if not (adapter / "adapter_model.safetensors").is_file():
        raise ValueError(f"{adapter} has no adapter_model.safetensors: save the adapter again with save_pretrained")
    check_mark(adapter, model)


@contextmanager
def configs_kept(model: "PreTrainedModel") -> Iterator[None]:
    """Undo what trainers write into a model's configs: the tokenizer's special tokens, and no cache.

    With pad = EOS, as TRL sets it, the next round would load EOS as padding, and its embedding would get no gradient;
    without a cache, generation would compute every answer's past anew for each token.
    """
    configs = [model.config.get_text_config(), model.generation_config]
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "use_cache")
    before = [{name: getattr(config, name) for name in names if hasattr(config, name)} for config in configs]
    try:
        yield
    finally:
        for config, values in zip(configs, before, strict=True):
            for name, value in values.items():
                setattr(config, name, value)


def write_policy(
    model: Any, tokenizer: "PreTrainedTokenizerBase", folder: Path, weights: dict[str, Any] | None = None
) -> None:
    """Write a model as safetensors with its tokenizer and configs, or only its LoRA adapter if it has one.

    Everything is written before any of it takes the place of what lies in the folder.

    Args:
        model: The policy.
        tokenizer: Its tokenizer.
        folder: Where to.
        weights: The model's weights where several processes each hold a part of them; None = the model has them.

    Raises:
        OSError: There is no room, or the folder can't be written.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".policy.") as name:
            made = Path(name)
            if isinstance(model, PeftModel):
                model.save_pretrained(name, save_embedding_layers=False, state_dict=weights)
                write_mark(made, str(model.peft_config["default"].base_model_name_or_path))
            else:
                model.save_pretrained(made, state_dict=weights)
                tokenizer.save_pretrained(made)
            for path in sorted(path for path in made.rglob("*") if path.is_file()):
                (folder / path.relative_to(made)).parent.mkdir(exist_ok=True)
                path.replace(folder / path.relative_to(made))
    except (OSError, SafetensorError) as error:  # the latter is no OSError, not even on a full disk
        raise OSError(
            f"{folder}: the weights can't be written ({error}): free some space or mend permissions; what lay there is "
            "kept"
        ) from error


def _source(policy: Policy) -> dict[str, Any]:
    return {"revision": policy.revision, "trust_remote_code": policy.trust_remote_code}
