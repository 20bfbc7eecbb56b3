"""The command line as a user runs it, and a real Prefect server: one of each for all the tests of a process."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

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
def prefect_server(prefect_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the API of a real Prefect server, whose SQLite file no embedded server writes to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    server = subprocess.Popen(
        [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env=os.environ
        | prefect_environment
        | {"PREFECT_HOME": str(tmp_path_factory.mktemp("server")), "PREFECT_SERVER_UI_API_URL": url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"{url}/health", server)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture(scope="session")
def served_prefloop(prefloop: Prefloop, prefect_server: str) -> Prefloop:
    """Run `prefloop` against the Prefect server that runs already, which spares each run starting its own."""
    return partial(prefloop, PREFECT_API_URL=prefect_server)


def _wait_for(url: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
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
