"""What a model's folder must hold before anything is loaded from it: safetensors, and no code but trusted code."""

import json
from pathlib import Path
from typing import Any  # JSON values

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def check_model_files(model: str, adapter: str | None = None, *, trust_remote_code: bool, field: str) -> None:
    """Check a local model's folder; of a Hub model the loaders themselves take safetensors only.

    Args:
        model: A folder, or the name of a model on the Hub.
        adapter: Folder with a LoRA adapter on top of it.
        trust_remote_code: Whether the recipe lets the folder's own code run.
        field: Dotted name of the recipe's part that names the model, for the message.

    Raises:
        ValueError: The weights are pickled or cut short, or the model needs code that is not trusted.
    """
    folder = Path(model)
    if folder.is_dir():
        _refuse_adapter(folder, field)
        _check_weights(folder, "*.safetensors", field)
        if not trust_remote_code:
            _refuse_code(folder, field)
    if adapter is not None:
        _check_weights(Path(adapter), "adapter_model.safetensors", field)


def _check_weights(folder: Path, wanted: str, field: str) -> None:
    from safetensors import SafetensorError, safe_open

    weights = sorted(folder.glob(wanted))
    for path in weights:
        try:
            safe_open(path, "numpy")  # reads the header and compares it with the file's length
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{field}: {path} is not whole ({error}): fetch the model again") from error
    if weights:
        return
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    found = f"only {', '.join(pickles)}; pickles are never loaded, since they can run code" if pickles else "no weights"
    raise ValueError(f"{field}: {folder} holds {found}: save the model as safetensors (`save_pretrained` does)")


def _refuse_adapter(folder: Path, field: str) -> None:
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise ValueError(
            f"{field}: {folder} is a LoRA adapter, not a whole model: `prefloop merge` makes one of it and its base; a "
            "recipe names the base as policy.model and the adapter as policy.adapter"
        )


def _refuse_code(folder: Path, field: str) -> None:
    config = _read(folder / "config.json")
    if "auto_map" in config and not _is_known(config.get("model_type")):
        raise ValueError(
            f"{field}: {folder} needs the Python code that lies in it ({config['auto_map']}): read that code, and if "
            f"you trust it set {field}.trust_remote_code to true"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{path} can't be read as JSON ({error}): fetch the model again") from error
    return config if isinstance(config, dict) else {}


def _is_known(model_type: object) -> bool:
    """Tell whether transformers has code of its own for a model, which it then takes."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING
