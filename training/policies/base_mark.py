"""Which base an adapter was trained on: a mark written beside it, and the check before it goes on another.

An adapter on the wrong base gives no error where the shapes agree, only a policy that nobody trained.
"""

import hashlib
import json
from pathlib import Path
from typing import Any  # JSON values

MARK = "base.json"
_ROWS = 4  # of each tensor; enough to tell two trainings apart


def write_mark(adapter: Path, model: str) -> None:
    """Note beside an adapter which base it was trained on.

    Args:
        adapter: The adapter's folder.
        model: The base's folder, or its id on the Hub.
    """
    named = str(Path(model).resolve()) if Path(model).is_dir() else model
    (adapter / MARK).write_text(json.dumps({"model": named, "weights": fingerprint(model)}, indent=1) + "\n")


def check_mark(adapter: Path, model: str) -> None:
    """Refuse a base that an adapter was not trained on, as far as its files tell.

    Args:
        adapter: The adapter's folder.
        model: The base's folder, or its id on the Hub.

    Raises:
        ValueError: The weights are others than those noted, or the adapter names another model of the Hub.
    """
    mark = _read(adapter / MARK)
    weights = fingerprint(model) if mark.get("weights") else None
    if weights and weights != mark["weights"]:
        raise ValueError(
            f"the adapter {adapter} was trained on {mark['model']}, and {model} has other weights: give the base that "
            "it was trained on, or `prefloop merge` the adapter into that base and start from the result"
        )
    named = _read(adapter / "adapter_config.json").get("base_model_name_or_path")
    if not mark.get("weights") and _on_hub(named) and _on_hub(model) and named != model:
        raise ValueError(f"the adapter {adapter} was trained on {named}, not on {model}: give that base")


def fingerprint(model: str) -> str | None:
    """Hash names, shapes and the first rows of all weights in a folder; None for a model that is not in a folder.

    It reads kilobytes whatever the model's size.
    """
    files = sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
    if not files:
        return None
    import torch
    from safetensors import safe_open

    parts: dict[str, str] = {}
    for file in files:
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118  it is no dict
                tensor = weights.get_slice(name)
                shape = tensor.get_shape()
                some = tensor[:_ROWS] if shape else weights.get_tensor(name)
                data = some.contiguous().flatten()[:4096].view(torch.uint8).numpy().tobytes()
                parts[name] = f"{shape} {hashlib.sha256(data).hexdigest()}"
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def _on_hub(name: object) -> bool:
    return isinstance(name, str) and name.count("/") == 1 and not name.startswith((".", "/", "~"))


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path} can't be read as JSON ({error}): fetch the adapter again") from error
