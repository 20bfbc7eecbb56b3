"""A private Prefect home, a real Prefect server, the command line as a user runs it, and a recipe it serves."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.prefect_api import PrefectApi

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict:
        return json.loads(self.stdout)


Prefloop = Callable[..., Finished]


@pytest.fixture(scope="session")
def prefect_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables that keep Prefect's files out of the user's home."""
    home = tmp_path_factory.mktemp("prefect")
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "storage"),
        "PREFECT_MEMO_STORE_PATH": str(home / "memo.toml"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "COLUMNS": "200",
    }


@pytest.fixture(scope="session")
def prefloop(prefect_environment: dict[str, str]) -> Prefloop:
    """Run `prefloop` with some arguments and extra variables."""

    def call(*arguments: object, code: int = 0, **environment: str) -> Finished:
        command = [str(BIN / "prefloop"), *map(str, arguments)]
        done = subprocess.run(
            command, env=os.environ | prefect_environment | environment, capture_output=True, text=True, timeout=500
        )
        assert done.returncode == code, done.stderr[-4000:]
        return Finished(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture(scope="session")
def prefect_server(prefect_environment: dict[str, str]) -> Iterator[str]:
    """Address of the API of a real Prefect server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    server = subprocess.Popen(
        [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env=os.environ | prefect_environment | {"PREFECT_SERVER_UI_API_URL": url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"{url}/health", server)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for(url: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert server.poll() is None, "the Prefect server died"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise TimeoutError(url)


@pytest.fixture(scope="session")
def prefect_api(prefect_server: str) -> PrefectApi:
    """The API of the real Prefect server, with the UI's buttons as methods."""
    return PrefectApi(prefect_server)


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
        deadline = time.monotonic() + 120
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
