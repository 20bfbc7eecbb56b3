"""Tasks that are tried again: real Prefect, real child processes, a real server that misbehaves."""

import builtins
import json
import os
import subprocess
import sys

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from flows.child import HealableError, StageError
from flows.healing import can_heal
from flows.retrying import RetriesConfig, retry_options
from tests.fake_openai import FakeServer, chat_body, raw, status

FLOW = """
import json, sys
from pathlib import Path
from flows.terminal import quiet_prefect
quiet_prefect()
from prefect import flow, task
from rich.console import Console
from flows.child import StageError
from flows.display import terminal_display
from flows.retrying import RetriesConfig, retry_options
from tests.flows.test_child import sample_from

tries = []

@task(task_run_name="generation-{number}")
def generate(number, address):
    tries.append(number)
    return sample_from(address, Path(sys.argv[2]) / str(number))

@flow
def run():
    stage = generate.with_options(**retry_options(RetriesConfig(times=3, delay_s=1)))
    stage(1, sys.argv[1])
    try:
        stage(2, sys.argv[1])
    except StageError as error:
        print(json.dumps({"tries": tries, "error": str(error)}))

with terminal_display(Console(stderr=True)):
    run()
"""


@pytest.mark.slow
def test_a_stage_is_tried_again_while_its_server_is_away_and_not_for_a_wrong_key(tmp_path, prefect_environment):
    """Without any Prefect server of the user's; a person sees one line for each wait."""
    with FakeServer() as server:
        # A good answer costs two requests: one to learn what the server can, one for the prompt.
        good = raw(json.dumps(chat_body(["yes"])).encode())
        server.script = [status(503), status(503, "still [bold]starting"), good, good, status(401)]
        done = subprocess.run(
            [sys.executable, "-c", FLOW, server.base_url, str(tmp_path)],
            env=os.environ | prefect_environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads(done.stdout)
    assert result["tries"] == [1, 1, 1, 2]
    assert "answers 401 to every request" in result["error"]
    first, second = done.stderr.splitlines()
    assert first.startswith("generation-1: try 1 of 4 failed, the next one in about 1 s: http://127.0.0.1:")
    assert second.startswith("generation-1: try 2 of 4 failed, the next one in about 2 s: http://127.0.0.1:")
    assert "still [bold]starting" in second


def test_waits_grow_up_to_ten_minutes():
    options = retry_options(RetriesConfig(times=8, delay_s=10))
    assert options["retry_delay_seconds"] == [10, 20, 40, 80, 160, 320, 600, 600]
    assert retry_options(RetriesConfig(times=0))["retries"] == 0


def hub_error(code: int) -> LocalEntryNotFoundError:
    """What the Hub's library raises when a file can't be had: the status stands in the cause."""
    request = httpx2.Request("GET", "https://hub.example")
    wrapped = LocalEntryNotFoundError("the file is not in the cache")
    wrapped.__cause__ = HfHubHTTPError("no", response=httpx2.Response(code, request=request))
    return wrapped


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def raised_while(error: BaseException, other: BaseException) -> BaseException:
    error.__context__ = other
    return error


@pytest.mark.parametrize(
    "error",
    [
        HealableError("the server failed 3 prompts"),
        ConnectionError("no server answers"),
        ConnectionResetError("reset"),
        TimeoutError("not ready"),
        hub_error(503),
        hub_error(429),
        caused(OSError("we couldn't connect"), httpx2.ConnectError("refused")),
    ],
)
def test_trouble_with_a_server_or_the_network_can_heal(error):
    assert can_heal(error)


@pytest.mark.parametrize(
    "error",
    [
        StageError("the filters dropped all pairs"),
        ValueError("a wrong recipe"),
        FileNotFoundError("no such model"),
        ZeroDivisionError("our own bug"),
        hub_error(404),
        hub_error(401),
        raised_while(ValueError("no such field"), ConnectionError("reset")),
        caused(LocalEntryNotFoundError("not in the cache"), OfflineModeIsEnabled("offline mode is enabled")),
        builtins.ConnectionError("Couldn't reach 'acme/none' on the Hub (OfflineModeIsEnabled)"),
    ],
)
def test_a_wrong_recipe_or_a_bug_can_not_heal(error):
    assert not can_heal(error)
