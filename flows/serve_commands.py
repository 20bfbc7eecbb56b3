"""The command that serves a recipe on a timetable."""

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import Overrides, Seed, Workspace, stderr, user_errors

_PACKAGES = "flows,generation,judging,filtering,training,evaluation"


def serve(
    recipe: Annotated[Path, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    cron: Annotated[str | None, typer.Option(help='When runs start: "0 2 * * *" is every night at two, UTC.')] = None,
    interval: Annotated[float | None, typer.Option(min=1, help="Seconds between the starts of two runs.")] = None,
    workspace: Workspace = Path("workspace"),
    seed: Seed = None,
    name: Annotated[str | None, typer.Option(help="Name of the deployment; without it the recipe's.")] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Start no run until the schedule is resumed.")] = False,
    overrides: Overrides = [],  # noqa: B006  typer needs the list
) -> None:
    """Serve a recipe as a Prefect deployment: runs on a timetable, from the UI or the API.

    The recipe is read once: each run gets its fields as they were when serve started. Start serve again after a change.
    Two runs of one recipe never overlap: a run that comes due while another works is cancelled. Needs a Prefect server
    (`prefect server start`) and PREFECT_API_URL; see docs/running.md.
    """
    from flows.fields import FieldError
    from flows.recipe import load_recipe

    with user_errors():
        if cron is not None and not cron.strip():
            raise FieldError('--cron is empty: give a time such as "0 2 * * *", or leave it out')
        if cron and interval:
            raise FieldError("--cron and --interval: give one of the two")
        seeds = [] if seed is None else [f"seed={seed}"]
        checked = load_recipe(recipe, [*overrides, *seeds])
        _set_environment()
        from flows.serve import Timetable, serve_recipe  # imports Prefect, which reads its environment then

        timetable = Timetable(cron, interval, active=not paused)
        try:
            timetable.schedule(active=True)
        except ValueError as error:
            fix = 'write minute hour day month weekday, as in "0 2 * * *"'
            raise FieldError(f"--cron {cron}: {error}; {fix}") from error
        serve_recipe(checked, workspace, name or checked.name, timetable, stderr)


def _set_environment() -> None:
    """Set what this process and its runs need of Prefect; only the heartbeat is not the user's to choose."""
    defaults = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_EXTRA_LOGGERS": _PACKAGES,
    }
    for variable, value in defaults.items():
        os.environ.setdefault(variable, value)
    os.environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = "30"  # flows.automation.HEARTBEAT_S, without importing Prefect
