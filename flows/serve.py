"""Serve a recipe: a Prefect deployment of `self_improve`, and the process that starts its runs.

Runs of one recipe never overlap: what comes due while one works is cancelled, so a process that was down for a week
catches up once and not seven times. Each run is a fresh Python process that loads the flow by its module path.
"""

import asyncio
import os
import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any  # untyped keyword arguments of Prefect

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.schedules import Cron, Interval, Schedule
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL
from prefect.types.entrypoint import EntrypointType
from rich.console import Console
from rich.markup import escape

from flows.automation import TAG, watch_heartbeats
from flows.recipe import Recipe
from flows.self_improve import self_improve
from flows.store import Store

_ANCHOR = datetime(2020, 1, 1, tzinfo=UTC)  # what intervals count from: starting serve again moves no run


@dataclass(frozen=True)
class Timetable:
    """When runs start by themselves; without `cron` and `interval_s` only the UI and the API start them."""

    cron: str | None = None  # in UTC
    interval_s: float | None = None
    active: bool = True  # False: no run starts by itself until somebody resumes the schedule

    def schedule(self, *, active: bool) -> Schedule | None:
        """Give the timetable as Prefect wants it."""
        if self.cron:
            return Cron(self.cron, timezone="UTC", active=active)
        return Interval(timedelta(seconds=self.interval_s), _ANCHOR, active=active) if self.interval_s else None


def serve_recipe(recipe: Recipe, workspace: Path, name: str, timetable: Timetable, console: Console) -> None:
    """Serve a recipe until SIGTERM or SIGINT; a run that is at work then is cancelled and its children end.

    Args:
        recipe: What each run does; its fields become the runs' parameters, as they are now.
        workspace: Folder of the store.
        name: Name of the deployment.
        timetable: When runs start.
        console: Takes a few lines on where to find what.

    Raises:
        ConnectionError: There is no Prefect server at PREFECT_API_URL.
    """
    with _connect() as client:
        watch_heartbeats(client)
        before = _find(client, f"{self_improve.name}/{name}")
    # What somebody has paused stays paused when this process is started again.
    halted = before is not None and bool(before.schedules) and not any(one.active for one in before.schedules)
    parameters = {"recipe": recipe.model_dump(mode="json"), "workspace": str(Store(workspace).root)}
    deployment: Any = self_improve.to_deployment(
        name,
        schedule=timetable.schedule(active=timetable.active and not halted),
        paused=before.paused if before else False,
        parameters=parameters,
        tags=[TAG],
        description=f"Recipe {recipe.name}, seed {recipe.seed}, workspace {parameters['workspace']}",
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    _enter(Path(parameters["workspace"]))
    asyncio.run(_start_runs(deployment, console))


def _find(client: SyncPrefectClient, deployment: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(deployment)
    except ObjectNotFound:
        return None


def _enter(folder: Path) -> None:
    """Work in the store's folder: Prefect imports the flow with the current folder first on the path.

    A training.py where serve was started would be taken for our package.
    """
    paths = os.environ.get("PYTHONPATH")
    if paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(str(Path(path).resolve()) for path in paths.split(os.pathsep))
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)


async def _start_runs(deployment: RunnerDeployment, console: Console) -> None:
    """Start runs as they come due until a signal says to stop."""
    # No limit here: runs beyond the deployment's one slot must reach the server, which cancels them.
    runner = Runner(pause_on_shutdown=False, limit=None)
    deployment_id = await runner.aadd_deployment(deployment)
    loop, serving = asyncio.get_running_loop(), asyncio.create_task(runner.start())
    while not runner.started and not serving.done():
        await asyncio.sleep(0.1)
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # Prefect's own handler never awaits its stop
        loop.add_signal_handler(sign, stop.set)
    console.print(
        f"serving [bold]{escape(deployment.full_name)}[/]: "
        f"{PREFECT_UI_URL.value()}/deployments/deployment/{deployment_id}", soft_wrap=True,
    )  # fmt: skip
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        console.print("stopping; a run at work is cancelled")
        await runner.astop()
    stopping.cancel()
    await serving


def _connect() -> SyncPrefectClient:
    """Connect to the server that PREFECT_API_URL names."""
    url = PREFECT_API_URL.value()
    teach = (
        "start one with `prefect server start`, then set PREFECT_API_URL to its API, such as http://127.0.0.1:4200/api"
    )
    if not url:
        raise ConnectionError(f"serving a recipe needs a Prefect server, and PREFECT_API_URL is not set: {teach}")
    client = get_client(sync_client=True)
    with client:
        error = client.api_healthcheck()
    if error is not None:
        raise ConnectionError(f"PREFECT_API_URL {url}: no Prefect server answers there ({error}): {teach}") from error
    return get_client(sync_client=True)
