"""vLLM's offline engine in this process, opened and closed: what all judges that run on it share.

The process must have been started with `environment.judge_engine_environment`.
"""

import gc
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any  # vLLM's constructor takes arguments of many types

if TYPE_CHECKING:
    from vllm import LLM

log = logging.getLogger(__name__)

_CPU_CACHE_MB = 1024


@contextmanager
def open_vllm(kv_cache_mb: int | None, **arguments: Any) -> Iterator["LLM"]:
    """Hold a model in vLLM for as long as the block lasts; only the end of the process gives all memory back.

    Args:
        kv_cache_mb: MiB for the key-value cache; None leaves it to vLLM on a GPU and takes 1024 on a CPU.
        arguments: Those of vLLM's constructor beside it; what a CPU needs is added.

    Raises:
        RuntimeError: The process was started without the engine's environment.
    """
    if os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") != "0":
        raise RuntimeError("start this process with the variables of environment.judge_engine_environment(judge)")
    start = time.monotonic()
    import torch
    from vllm import LLM

    if not torch.cuda.is_available():
        kv_cache_mb = kv_cache_mb or _CPU_CACHE_MB  # the default wants 92 % of the machine's memory free
        arguments |= {"enforce_eager": True, "block_size": 32}  # texts share whole blocks only, the default is 128
    set_num_threads = torch.set_num_threads
    llm = LLM(load_format="safetensors", kv_cache_memory_bytes=kv_cache_mb and kv_cache_mb << 20, **arguments)
    try:
        log.info("vLLM holds %s after %.1f s", arguments["model"], time.monotonic() - start)
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm
        torch.set_num_threads = set_num_threads  # on a CPU vLLM leaves one behind that does nothing
        gc.collect()
