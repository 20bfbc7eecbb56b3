"""What vLLM's two ways of running, in this process and as a server, must be told alike."""

import json
from pathlib import Path

from generation.adapter_files import check_adapter

CPU_CACHE_MB = 1024
"""MiB for the key-value cache on a CPU, where a recipe says nothing: vLLM's default refuses to start."""

_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # those that vLLM reserves room for


def reserved_rank(adapter: Path) -> int:
    """Give the smallest rank that vLLM can reserve room for and that a LoRA adapter's folder fits into.

    Raises:
        ValueError: Its weights are pickled; or its rank, or one that `rank_pattern` gives a layer, is too high.
    """
    check_adapter(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
    if rank > _LORA_RANKS[-1]:
        raise ValueError(f"{adapter}: rank {rank}, but vLLM runs adapters up to {_LORA_RANKS[-1]}: merge it first")
    return next(reserved for reserved in _LORA_RANKS if reserved >= rank)
