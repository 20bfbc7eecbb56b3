"""A recipe that takes half a minute, and what serves it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml

from tests.command_line import BIN
from tests.prefect_api import PrefectApi

JUDGES = """
from pathlib import Path

if Path(__file__).with_name("broken").exists():
    raise ImportError("the judges are broken")


def by_length(completions, **_):
    return [float(len(one[0]["content"])) for one in completions]


def by_letters(completions, **_):
    return [float(len(set(one[0]["content"]))) for one in completions]
"""


@dataclass(frozen=True)
class Small:
    """A recipe that takes half a minute, and the module of its judges, which a test can break and mend."""

    recipe: Path
    judges: Path  # the folder for PYTHONPATH

    def break_judges(self) -> None:
        (self.judges / "broken").touch()

    def mend_judges(self) -> None:
        (self.judges / "broken").unlink()


@pytest.fixture(scope="session")
def small(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Write the small recipe: sixteen prompts a round; with a larger `prompts.per_round` it samples for minutes."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "judges_of_tests.py").write_text(JUDGES)
    prompts = [{"prompt": f"Question {i}", "split": "eval" if i < 8 else "train"} for i in range(1000)]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    recipe = {
        "name": "small",
        "policy": {"model": str(tiny_policy)},
        "prompts": {"path": "prompts.jsonl", "per_round": 16},
        "generation": {
            "engine": {"name": "transformers", "dtype": "float32", "max_model_len": 192, "batch_size": 8},
            "k": 4,
            "sampling": {"max_new_tokens": 96},
            "prompts_per_shard": 4,
        },
        "judging": {
            "annotator": {"kind": "verifier", "function": "judges_of_tests:by_length"},
            "pairing": {"chosen_must_finish": False},  # the random policy seldom ends by itself
        },
        "filtering": {"filters": [{"name": "identical"}]},
        "training": {"batch_size": 8, "threads": 1},
        "evaluation": {
            "judge": {"kind": "verifier", "function": "judges_of_tests:by_letters"},
            "max_prompts": 8,
            "k": 2,
            "gate": {"preset": "demo"},
        },
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(recipe))
    return Small(folder / "small.yaml", folder)


@dataclass(frozen=True)
class Served:
    """A `prefloop serve` at work."""

    process: subprocess.Popen
    deployment: str
    workspace: Path

    def wait_for_exit(self) -> None:
        """Wait until a failed run's process is gone and its runner has reported that: later it would undo a retry."""
        deadline = time.monotonic() + 120
        while any("prefect.engine" in " ".join(child.cmdline()) for child in _children(self.process.pid)):
            assert time.monotonic() < deadline, "the process of the failed run does not end"
            time.sleep(0.1)
        time.sleep(3)


def _children(pid: int) -> list[psutil.Process]:
    children = psutil.Process(pid).children(recursive=True)
    return [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def serve(
    small: Small, prefect_api: PrefectApi, prefect_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serve]:
    """Start `prefloop serve` for the small recipe, from a folder where a training.py lies in the way."""
    started: list[subprocess.Popen] = []
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "training.py").write_text("raise SystemExit('taken for a package of prefloop')")

    def call(name: str, workspace: Path, *options: str) -> Served:
        command = [str(BIN / "prefloop"), "serve", str(small.recipe), "--name", name, "--workspace", str(workspace)]
        extra = {
            "PREFECT_API_URL": prefect_api.url,
            "PREFECT_RUNNER_POLL_FREQUENCY": "2",
            "PYTHONPATH": os.pathsep.join([str(small.judges), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        log = workspace.parent / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *options],
                cwd=elsewhere, env=os.environ | prefect_environment | extra, stdout=output, stderr=output,
            )  # fmt: skip
        started.append(process)
        deadline = time.monotonic() + 240
        while f"self-improve/{name}" not in log.read_text():
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.2)
        return Served(process, f"self-improve/{name}", workspace)

    yield call
    for process in started:
        process.send_signal(signal.SIGTERM)
    for process in started:
        process.wait(timeout=60)
