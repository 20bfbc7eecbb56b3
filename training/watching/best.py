"""The best weights of a training so far: one file that says of itself which step it is and how good.

It lies beside the checkpoints and stays as long as they do, so that a training killed at any moment still has it. What
has to be known to go on stands in the file: evaluations of steps up to its own were beaten or are to be repeated.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any  # models of untyped libraries

_NAME = "best.safetensors"


@dataclass(frozen=True)
class Best:
    """The evaluation that the kept weights had.

    Attributes:
        step: Optimiser steps done.
        accuracy: Held-out preference accuracy in [0, 1].
    """

    step: int
    accuracy: float


def read_best(folder: Path) -> Best | None:
    """Say what the kept weights are; None where none are kept yet."""
    from safetensors import safe_open

    path = folder / _NAME
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        return Best(**json.loads(file.metadata()["best"]))


def write_best(model: Any, best: Best, folder: Path) -> None:
    """Keep a model's trained weights in place of those kept before.

    Raises:
        OSError: There is no room.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{_NAME}"
    weights = {name: value.detach().contiguous() for name, value in _trained(model).items()}
    try:
        save_file(weights, partial, {"best": json.dumps(asdict(best))})
    except SafetensorError as error:  # no OSError, not even on a full disk
        partial.unlink(missing_ok=True)
        raise OSError(f"{folder}: the best weights so far can't be written ({error}): free some space") from error
    partial.replace(folder / _NAME)


def load_best(model: Any, folder: Path) -> None:
    """Put the kept weights into a model."""
    import torch
    from safetensors.torch import load_file

    kept = load_file(folder / _NAME)
    with torch.no_grad():
        for name, value in _trained(model).items():
            value.copy_(kept[name])


def _trained(model: Any) -> dict[str, Any]:
    """List the weights that training changes, each once, also where two layers share it."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}
