"""Two policies' weights in, their weighted mean out: a reference that follows the policy slowly.

This is the soft update of the reference in TR-DPO (arXiv 2404.09656), done once between rounds; the paper's updates
every few steps within a training run and its hard update are left out. In memory are one shard of the result and, while
it is written, safetensors' copy of it.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_COPIED = {".json", ".txt", ".model", ".jinja"}  # configs and tokenizers; never code or pickled weights


def average_policies(old: Path, new: Path, weight: float, output: Path) -> None:
    """Write a policy of (1 - weight) * old + weight * new, with the shards, number format and tokenizer of `new`.

    The mean is taken in float32 (float64 where `new` has it); tensors of whole numbers or truth values are those of
    `new`. Tied weights stay as they are stored, once or twice.

    Args:
        old: Folder with safetensors weights, in one file or in shards with an index.
        new: Likewise, of the same architecture.
        weight: Share of `new` in [0, 1]; the alpha of TR-DPO.
        output: Folder to write to; it is made where it is missing and must be neither `old` nor `new`.

    Raises:
        ValueError: The weight is out of range, a folder has no safetensors or holds a LoRA adapter, or the two do not
            have the same tensors.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    if not 0 <= weight <= 1:
        raise ValueError(f"weight {weight} must lie in [0, 1]: it is the share of the new policy")
    of_old, of_new = _locate_tensors(old), _locate_tensors(new)
    _check_same_names(old, new, of_old, of_new)
    output.mkdir(parents=True, exist_ok=True)
    for shard in sorted(set(of_new.values())):
        names = [name for name, path in of_new.items() if path == shard]
        with safe_open(shard, framework="pt") as file:
            metadata = file.metadata()
        averaged = {name: _average(name, of_old[name], shard, weight) for name in names}
        save_file(averaged, output / shard.name, metadata=metadata)
    for file in sorted(new.iterdir()):
        if file.is_file() and file.suffix in _COPIED and file.name != "manifest.json":
            shutil.copyfile(file, output / file.name)


def _locate_tensors(folder: Path) -> dict[str, Path]:
    """Give the file of each of a policy's tensors."""
    from safetensors import safe_open

    if (folder / "adapter_config.json").exists():
        raise ValueError(f"{folder} holds a LoRA adapter, only whole models can be averaged: merge it into its model")
    if (folder / _INDEX).exists():
        shard_of: dict[str, str] = json.loads((folder / _INDEX).read_text())["weight_map"]
        return {name: folder / shard for name, shard in shard_of.items()}
    if not (folder / _SINGLE).exists():
        raise ValueError(f"{folder} has neither {_SINGLE} nor {_INDEX}: save the model as safetensors first")
    with safe_open(folder / _SINGLE, framework="pt") as file:
        return dict.fromkeys(file.keys(), folder / _SINGLE)


def _check_same_names(old: Path, new: Path, of_old: Mapping[str, Path], of_new: Mapping[str, Path]) -> None:
    for folder, missing in ((old, of_new.keys() - of_old.keys()), (new, of_old.keys() - of_new.keys())):
        if missing:
            raise ValueError(
                f"{folder} has no tensor {min(missing)} ({len(missing)} missing): {old} and {new} must be policies of "
                "one architecture"
            )


def _average(name: str, old: Path, new: Path, weight: float) -> "torch.Tensor":
    import torch

    old_values, new_values = _read(old, name), _read(new, name)
    if old_values.shape != new_values.shape:
        raise ValueError(f"{name} has shape {list(old_values.shape)} in {old} and {list(new_values.shape)} in {new}")
    if not new_values.is_floating_point():
        return new_values
    exact = torch.promote_types(new_values.dtype, torch.float32)
    # lerp gives old at weight 0 and new at 1 to the last bit, and the value itself where both have the same.
    return torch.lerp(old_values.to(exact), new_values.to(exact), weight).to(new_values.dtype)


def _read(path: Path, name: str) -> "torch.Tensor":
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name)
