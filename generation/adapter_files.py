"""What a LoRA adapter's folder must hold before an engine loads it."""

from pathlib import Path

_PICKLES = ("adapter_model.bin", "adapter_model.pt")


def check_adapter(adapter: Path) -> None:
    """Refuse an adapter whose weights are pickled only: vLLM and peft would read them.

    Raises:
        ValueError: Names the folder and the fix.
    """
    if not (adapter / "adapter_model.safetensors").is_file() and any((adapter / name).exists() for name in _PICKLES):
        raise ValueError(
            f"{adapter} has no adapter_model.safetensors; pickled weights are never loaded, since they can run code: "
            "save the adapter again with peft's save_pretrained"
        )
