"""What Prefect's pages show: published from a real task to a real server, looked at in a real browser."""

import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from benchmarks.pictures import CHROMIUM

pytestmark = pytest.mark.slow

PUBLISH = """
import json, sys, time
from flows.terminal import quiet_prefect
quiet_prefect()
from prefect import flow, task
from flows.artifacts import publish_pairs, publish_places, publish_round, publish_stage
from flows.build import Outcome
from flows.display import stage_bar

evil = sys.argv[1]
nasty = evil + "\\0\\ud800" + "x" * 1_000_000
pair = {"messages": [{"role": "user", "content": evil}], "chosen": nasty, "rejected": "``` " + evil,
        "chosen_score": 0.1 + 0.2, "rejected_score": float("nan")}
fields = ["stage", "key", "cached", "rows_in", "rows_out", "drops", "seconds", "facts"]
outcome = Outcome(**dict(zip(fields, ["judging", "k", False, 9, 8, {evil: 1}, 1.0,
                  {"seconds": 1.23456, "unscored": 1, "tokens": 30, "cost": float("nan")}])))

@task
def stage():
    publish_stage("judging", [outcome] * 2000)
    publish_pairs([pair] * 40)
    publish_places({"log": "/work space/" + evil})
    with stage_bar("judging round 1") as on_event:
        on_event({"done": 1, "total": 4, "note": evil})
        time.sleep(float(sys.argv[2]))
        on_event({"done": 3, "total": 4, "note": evil})

@flow
def run():
    stage()
    publish_round({"round": 1, "decision": "keep", "gold_delta_ci95": [0.1, 0.25], "kl": None}, [evil])

run()
print("done")
"""


@dataclass
class Listener:
    """Counts who asks."""

    address: str
    asked: list[str]


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Listener(f"http://127.0.0.1:{server.server_port}", asked)
    server.shutdown()
    thread.join()
    server.server_close()


def publish(evil: str, seconds: float, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PUBLISH, evil, str(seconds)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def published(listener: Listener, prefect_server: str, prefect_environment: dict[str, str]) -> dict[str, dict]:
    """The newest artifact of each key, of a run whose texts are attacks."""
    host = listener.address
    evil = (
        f"<b>MARK</b> <img src={host}/img> ![x]({host}/md) <script>fetch('{host}/script')</script> "
        f"<svg onload=\"fetch('{host}/svg')\"> <style>@import '{host}/css'</style> [MARK]({host}/link) `</code>`"
    )
    done = publish(evil, 4, prefect_environment | {"PREFECT_API_URL": prefect_server})
    assert done.stdout == "done\n", done.stderr[-4000:]
    newest = fetch(f"{prefect_server}/artifacts/latest/filter", b"{}")
    ids = {one["key"]: one["latest_id"] for one in newest}
    keys = ("stage-judging", "pairs", "places", "progress", "round-summary")
    return {key: fetch(f"{prefect_server}/artifacts/{ids[key]}") for key in keys}


def fetch(address: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def test_tables_are_small_rounded_and_complete(published):
    assert all(len(json.dumps(one["data"])) < 100_000 for one in published.values())
    row = json.loads(published["stage-judging"]["data"])[0]
    assert row | {"dropped": ""} == {
        "dataset": "judging/k", "rows in": 9, "rows out": 8, "dropped": "", "unscored": 1, "tokens": 30, "cost": "",
        "seconds": 1.2, "from": "built now",
    }  # fmt: skip
    pairs = json.loads(published["pairs"]["data"])
    assert len(pairs) == 8
    assert (pairs[0]["chosen score"], pairs[0]["rejected score"]) == (0.3, "")
    figures = {row["figure"]: row["value"] for row in json.loads(published["round-summary"]["data"])}
    assert figures["decision"] == "keep"
    assert figures["gold delta ci95"] == "` 0.100 to 0.250 `"
    assert figures["kl"] == ""


def test_progress_is_created_once_and_ends_where_the_stage_ended(published):
    assert published["progress"]["data"] == 75.0
    assert published["progress"]["description"].startswith("` judging round 1: 3 of 4 <b>MARK</b>")


def test_artifacts_hang_on_the_task_that_made_them(published):
    assert all(published[key]["task_run_id"] for key in ("stage-judging", "pairs", "places", "progress"))
    assert all(one["flow_run_id"] for one in published.values())


@pytest.mark.parametrize("page", ["artifacts/artifact", "v2/artifacts/artifact"])
@pytest.mark.parametrize("key", ["stage-judging", "pairs", "places", "progress", "round-summary"])
def test_no_text_of_a_model_becomes_an_element_or_a_request(published, listener, prefect_server, tmp_path, key, page):
    address = f"{prefect_server.removesuffix('/api')}/{page}/{published[key]['id']}"
    dom = browse(address, tmp_path)
    assert "MARK" in dom, dom[-2000:]
    for element in (
        "<b>MARK",
        "<img src=http",
        f'<img src="{listener.address}',
        "<script>fetch",
        f'href="{listener.address}/link',
    ):
        assert element not in dom
    assert listener.asked == []


def test_the_browser_would_have_seen_an_image(listener, tmp_path):
    """The check above can fail: the same browser asks for an image on a page that has one."""
    (tmp_path / "page.html").write_text(f"<img src={listener.address}/real>")
    browse((tmp_path / "page.html").as_uri(), tmp_path)
    assert listener.asked == ["/real"]
    listener.asked.clear()


def test_a_server_that_is_away_costs_the_tables_and_no_stage(tmp_path, prefect_environment):
    """Prefect's own runs need a server, so the functions are called as a task would call them, without one."""
    code = (
        "import logging\nlogging.basicConfig(level=logging.WARNING, format='%(message)s')\n"
        "from flows.artifacts import publish_places\nfrom flows.progress import Show\n"
        "publish_places({'log': '/x'})\nshow = Show('training')\nshow.take({'done': 1})\nshow.end()\n"
        "print('on it goes')\n"
    )
    away = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_CLIENT_MAX_RETRIES": "0", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | prefect_environment | away, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.stdout == "on it goes\n", done.stderr[-2000:]
    assert "the table places is not in Prefect: ConnectError" in done.stderr
    assert "the progress of training is no longer shown in Prefect: ConnectError" in done.stderr


def browse(address: str, tmp_path) -> str:
    """Give a page as the browser has it when its scripts have run."""
    command = [
        *CHROMIUM,
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=15000",
        "--dump-dom",
        address,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
