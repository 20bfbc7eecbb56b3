"""Served runs against a real Prefect server: started on time, retried, cancelled, killed."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
PREFECT = str(Path(sys.executable).with_name("prefect"))
PATHS = list(filter(None, [os.environ.get("PYTHONPATH")]))
LONG = "--set=prompts.per_round=900"  # samples for minutes


@pytest.fixture(scope="module")
def orphan(serve, prefect_api, tmp_path_factory):
    """Start a long run, kill its process and the one that serves it; give its id and when that was.

    The server takes two minutes to see it, in which the other tests run.
    """
    served = serve("orphan", tmp_path_factory.mktemp("orphan") / "workspace", LONG)
    run = prefect_api.start(served.deployment)
    wait_for(lambda: shards(served.workspace))
    flow = flow_process(served.process.pid)
    served.process.kill()
    served.process.wait()
    flow.kill()
    return run, time.monotonic()


@pytest.fixture(scope="module")
def served(serve, orphan, tmp_path_factory):
    """The small recipe, served."""
    return serve("small", tmp_path_factory.mktemp("served") / "workspace", "--cron", "0 0 1 1 *")


@pytest.fixture
def start_long(served, prefect_api):
    """Start a run that samples for minutes; come back when it has written a shard of its own."""

    def start() -> str:
        parameters = prefect_api.call(f"deployments/name/{served.deployment}")["parameters"]
        recipe = parameters["recipe"]
        before = len(shards(served.workspace))
        run = prefect_api.start(served.deployment, recipe=recipe | {"prompts": recipe["prompts"] | {"per_round": 900}})
        wait_for(lambda: len(shards(served.workspace)) > before)
        return run

    return start


@pytest.mark.slow
def test_a_failed_run_is_retried_under_its_own_id_and_goes_on(served, small, prefect_api):
    small.break_judges()
    run = prefect_api.start(served.deployment)
    prefect_api.wait(run, "Failed")
    assert "the judges are broken" in prefect_api.call(f"flow_runs/{run}")["state"]["message"]
    before = manifests(served.workspace)
    assert {path.parts[-3] for path in before} == {"prompts", "generation"}
    served.wait_for_exit()
    small.mend_judges()
    prefect_api.retry(run)
    prefect_api.wait(run, "Running")
    other = prefect_api.start(served.deployment)
    prefect_api.wait(other, "Cancelled")  # two runs of a deployment never overlap
    prefect_api.wait(run, "Completed")
    assert prefect_api.call(f"flow_runs/{run}")["run_count"] == 2
    after = manifests(served.workspace)
    assert {path: after[path] for path in before} == before
    stages = json.loads(next(served.workspace.glob("runs/*/round-01/round.json")).read_text())["stages"]
    assert all(outcome["cached"] for outcome in stages["generation"])
    assert not any(outcome["cached"] for outcome in stages["judging"])
    assert len(prefect_api.table(run, "stage-judging")) == len(stages["judging"])


@pytest.mark.slow
def test_a_cancelled_run_leaves_no_process_no_lock_and_no_half_dataset(served, prefect_api, start_long):
    run = start_long()
    groups = {os.getpgid(worker.pid) for worker in workers(served.workspace)}
    assert groups
    prefect_api.cancel(run)
    seconds = prefect_api.wait(run, "Cancelled", timeout_s=60)
    assert seconds < 15
    assert not [p for p in psutil.process_iter() if process_group(p) in groups]
    assert not workers(served.workspace)
    assert not held_locks(served.workspace)
    begun = {path.parent for path in shards(served.workspace)}
    assert len(begun - {path.parent for path in manifests(served.workspace)}) == 1
    kept = {path: path.stat().st_mtime_ns for path in shards(served.workspace)}
    again = start_long()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    prefect_api.cancel(again)
    prefect_api.wait(again, "Cancelled", timeout_s=60)


@pytest.mark.slow
def test_a_killed_run_is_crashed_and_its_child_ends(served, prefect_api, start_long):
    run = start_long()
    left = workers(served.workspace)
    flow_process(served.process.pid).kill()
    prefect_api.wait(run, "Crashed", timeout_s=60)
    assert left
    wait_for(lambda: not workers(served.workspace), timeout_s=15)


@pytest.mark.slow
def test_a_scheduled_run_starts_by_itself_and_the_schedule_outlives_its_process(serve, served, prefect_api):
    yearly = prefect_api.call(f"deployments/name/{served.deployment}")["schedules"]
    assert [one["schedule"]["cron"] for one in yearly] == ["0 0 1 1 *"]
    nightly = serve("nightly", served.workspace, "--interval", "20")
    deployment = prefect_api.call(f"deployments/name/{nightly.deployment}")
    done = {"deployment_id": {"any_": [deployment["id"]]}, "state": {"name": {"any_": ["Completed"]}}}
    query = {"flow_runs": done}
    wait_for(lambda: prefect_api.call("flow_runs/filter", query))
    assert prefect_api.call("flow_runs/filter", query)[0]["auto_scheduled"]
    nightly.process.send_signal(signal.SIGTERM)
    assert nightly.process.wait(timeout=60) == 0
    after = prefect_api.call(f"deployments/name/{nightly.deployment}")
    assert not after["paused"]
    assert after["schedules"][0]["active"]


@pytest.mark.slow
def test_a_worker_of_a_pool_runs_the_deployment_of_prefect_yaml(served, small, prefect_api, prefect_environment):
    extra = {"PREFECT_API_URL": prefect_api.url, "PREFECT_WORKER_QUERY_SECONDS": "2", "PWD": str(ROOT)}
    environment = (
        os.environ | prefect_environment | extra | {"PYTHONPATH": os.pathsep.join([str(small.judges), *PATHS])}
    )
    call = {"cwd": ROOT, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([PREFECT, "work-pool", "create", "pool", "--type", "process"], check=True, **call)
    subprocess.run([PREFECT, "--no-prompt", "deploy", "--name", "demo", "--pool", "pool"], check=True, **call)
    recipe = prefect_api.call(f"deployments/name/{served.deployment}")["parameters"]["recipe"]
    worker = subprocess.Popen([PREFECT, "worker", "start", "--pool", "pool"], **call)
    try:
        run = prefect_api.start("self-improve/demo", recipe=recipe, workspace=str(served.workspace))
        prefect_api.wait(run, "Completed")
    finally:
        worker.kill()  # Prefect's own process: SIGTERM can leave it waiting for minutes
        worker.wait()
    other = prefect_api.call("deployments/name/self-improve/demo")
    assert other["parameters"]["recipe"]["name"] == "demo"
    assert other["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


@pytest.mark.slow
def test_the_end_of_serve_cancels_its_run(served, prefect_api, start_long):
    run = start_long()
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(timeout=60) == 0
    assert prefect_api.state(run) == "Cancelled"
    assert not workers(served.workspace)


@pytest.mark.slow
def test_a_run_killed_with_its_runner_is_crashed_by_the_missing_heartbeat(orphan, served, prefect_api):
    run, killed = orphan
    prefect_api.wait(run, "Crashed", timeout_s=150)
    assert time.monotonic() - killed < 300  # of which this test waited the smaller part
    for one in prefect_api.rounds(run):
        prefect_api.wait(one["id"], "Crashed", timeout_s=60)
    automations = [one["name"] for one in prefect_api.call("automations/filter", {})]
    assert len([name for name in automations if name.startswith("prefloop")]) == 1


def test_serving_needs_a_server(prefloop, small):
    done = prefloop("serve", small.recipe, code=1, PREFECT_API_URL="")
    assert "prefect server start" in done.stderr
    done = prefloop("serve", small.recipe, code=1, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert "no Prefect server answers there" in done.stderr


def test_a_recipe_is_served_on_one_timetable(prefloop, small):
    done = prefloop("serve", small.recipe, "--cron", "* * * * *", "--interval", "60", code=2)
    assert "give one of the two" in done.stderr


def manifests(workspace: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in workspace.rglob("manifest.json")}


def shards(workspace: Path) -> list[Path]:
    return list(workspace.glob("stages/generation/*/part-*.parquet"))


def held_locks(workspace: Path) -> list[Path]:
    """List the locks that somebody holds."""
    held = []
    for path in workspace.rglob("*.lock"):
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(path)
    return held


def flow_process(server: int) -> psutil.Process:
    """Find the process of the run that is at work."""
    return next(p for p in psutil.process_iter() if "prefect.engine" in command(p) and p.ppid() == server)


def workers(workspace: Path) -> list[psutil.Process]:
    """Find the children of stages that work in a workspace."""
    return [p for p in psutil.process_iter() if "flows.worker" in command(p) and str(workspace) in command(p)]


def command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def process_group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


def wait_for(condition: Callable[[], object], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
