"""vLLM's OpenAI-compatible server as a child of this process, with one policy's weights, on loopback.

The child stays in this process's group, so whoever ends the group ends the server, and on Linux it is told to end when
this process dies. Its output goes to a file that outlives it only when something went wrong.
"""

import contextlib
import ctypes
import http.client
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # JSON values

import psutil

from generation.config import OpenAIConfig
from generation.engine import PolicyFiles
from generation.vllm_limits import CPU_CACHE_MB, reserved_rank

logger = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_START_DEADLINE_S = 1800.0  # a large model from a slow disk; an early death is noticed at once
_END_DEADLINE_S = 20.0  # measured: 0.5 s
_POLL_S = 0.2
_PR_SET_PDEATHSIG = 1


class ServerGoneError(ConnectionError):
    """The policy's server has ended in the middle of its work; another one may not."""


@dataclass(frozen=True)
class RunningServer:
    """A server that has answered /health.

    Attributes:
        base_url: Where its API is.
        max_model_len: Most tokens of prompt and answer together.
        process: Its front process.
        log: File with its output.
    """

    base_url: str
    max_model_len: int
    process: subprocess.Popen[bytes]
    log: Path

    def check_alive(self) -> None:
        """Raise ServerGoneError with the end of the log if the server has ended."""
        try:
            _check_alive(self.process, self.log)
        except RuntimeError as error:
            raise ServerGoneError(str(error)) from None


@contextlib.contextmanager
def serve_policy(policy: PolicyFiles, config: OpenAIConfig, dtype: str) -> Iterator[RunningServer]:
    """Run a server for as long as the block lasts; the policy's name on it is its key.

    Args:
        policy: What to serve.
        config: Its sizes, threads and limits.
        dtype: Number format, as vLLM names it.

    Raises:
        RuntimeError: The server ended before it was ready; the message shows its last lines.
        TimeoutError: It was not ready within half an hour.
    """
    start, port = time.monotonic(), _free_port()
    log = Path(tempfile.gettempdir()) / f"prefloop-vllm-{os.getpid()}-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            server_command(policy, config, dtype, port, has_gpu()),
            env=os.environ | server_environment(config.threads),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
    try:
        _wait_until_ready(process, port, log, start + _START_DEADLINE_S)
        models = _get(port, "/v1/models")["data"]
        length = max(model["max_model_len"] or 0 for model in models)  # an adapter's entry has null
        logger.info("vLLM's server holds %s after %.1f s, log in %s", policy.model, time.monotonic() - start, log)
        yield RunningServer(f"http://{_HOST}:{port}/v1", length, process, log)
    finally:
        _end(process)
    log.unlink()


def server_command(policy: PolicyFiles, config: OpenAIConfig, dtype: str, port: int, on_gpu: bool) -> list[str]:
    """Give the command that starts the server: vLLM's defaults on a GPU, what a CPU needs otherwise."""
    options: dict[str, str | int | None] = {
        "--model": policy.model,
        "--revision": policy.revision,
        "--tokenizer-revision": policy.revision,
        "--host": _HOST,
        "--port": port,
        "--dtype": dtype,
        "--load-format": "safetensors",  # pickles are never loaded
        "--max-model-len": config.max_model_len,
        "--max-num-seqs": config.max_num_seqs,
        "--kv-cache-memory-bytes": config.kv_cache_mb and config.kv_cache_mb << 20,
        "--generation-config": "vllm",  # or the model's top_k and penalties slip into every request
        "--served-model-name": policy.key,
    }
    flags = ["--disable-uvicorn-access-log"]
    if policy.trust_remote_code:
        flags.append("--trust-remote-code")
    if policy.adapter is not None:
        options["--served-model-name"] = f"{policy.key}-base"
        options["--max-lora-rank"] = reserved_rank(Path(policy.adapter))
        options["--lora-modules"] = json.dumps({"name": policy.key, "path": policy.adapter})
        flags.append("--enable-lora")
    if not on_gpu:
        # The default wants 92 % of the machine's memory free and refuses to start.
        options["--kv-cache-memory-bytes"] = (config.kv_cache_mb or CPU_CACHE_MB) << 20
        options["--block-size"] = 32  # prompts share whole blocks only, and the default is 128
        # Chunked prefill with seeds kills the engine on a CPU: "CPU Generator does not use offset".
        flags += ["--enforce-eager", "--no-enable-chunked-prefill"]
    given = [str(part) for option in options.items() if option[1] is not None for part in option]
    # `vllm serve` wants a distribution named vllm, which the CPU build is not.
    return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *given, *flags]


def server_environment(threads: int) -> dict[str, str]:
    """Give the environment variables that the server wants on top of this process's."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # "auto" would pin all servers of a machine to the same cores
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }


def has_gpu() -> bool:
    """Say whether vLLM will run on a GPU."""
    import torch

    return torch.cuda.is_available()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return probe.getsockname()[1]


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path, deadline: float) -> None:
    while _status(port, "/health") != 200:
        _check_alive(process, log)
        if time.monotonic() > deadline:
            raise TimeoutError(f"vLLM's server was not ready within {_START_DEADLINE_S:.0f} s; its log is {log}")
        time.sleep(_POLL_S)


def _status(port: int, path: str) -> int | None:
    try:
        with contextlib.closing(http.client.HTTPConnection(_HOST, port, timeout=5)) as connection:
            connection.request("GET", path)
            return connection.getresponse().status
    except OSError:
        return None  # nobody listens yet


def _get(port: int, path: str) -> dict[str, Any]:
    with contextlib.closing(http.client.HTTPConnection(_HOST, port, timeout=30)) as connection:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())


def _check_alive(process: subprocess.Popen[bytes], log: Path) -> None:
    if (code := process.poll()) is not None:
        raise RuntimeError(f"vLLM's server ended with code {code}; its log is {log}:\n{_read_end(log)}")


def _read_end(log: Path, n_lines: int = 10) -> str:
    """Give the lines that name an error (the cause stands far above the end) and the last ones."""
    lines = log.read_text(errors="replace").splitlines()
    causes = [line for line in lines[:-n_lines] if re.search(r"\w(Error|Exception): ", line)]
    return "\n".join([*dict.fromkeys(causes), *lines[-n_lines:]])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server: ask, wait, then kill it and whatever it leaves behind."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    process.terminate()
    try:
        process.wait(_END_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in psutil.wait_procs(children, timeout=2)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
