"""Run the flow from a terminal: progress bars, the run's folder and report, and where the seconds went."""

import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any  # JSON values

import psutil
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from rich.console import Console

from flows.display import terminal_display
from flows.orphans import end_orphans
from flows.recipe import Recipe
from flows.rounds import keep_summary
from flows.self_improve import self_improve
from flows.store import Store


def launch(recipe: Recipe, workspace: Path, console: Console) -> dict[str, Any]:
    """Run a recipe; its folder keeps the summary that is returned.

    Returns:
        `flows.rounds.run_summary`, with `report` (path), `seconds` (of the whole process) and `seconds_by`: imports,
        stages (building datasets), prefect (flow and task runs, its server), own (everything else of ours).
    """
    store = Store(workspace)
    imported_s, started = time.time() - psutil.Process().create_time(), time.monotonic()
    end_orphans()  # before this run's own server starts
    with _without_heartbeat(), terminal_display(console):
        result = self_improve(recipe.model_dump(mode="json"), str(store.root))
    flow_s = time.monotonic() - started
    busy, stages = result.pop("busy_s"), result.pop("stages_s")
    summary = result | {
        "seconds": round(imported_s + flow_s, 1),
        "seconds_by": {
            "imports": round(imported_s, 2),
            "stages": round(stages, 2),
            "prefect": round(flow_s - stages - busy, 2),
            "own": round(busy, 2),
        },
    }
    keep_summary(store, summary)
    return summary


def _without_heartbeat() -> AbstractContextManager[object]:
    """Spare each flow run the second that Prefect waits for its heartbeat thread, where nobody listens to it.

    With the embedded server no automation outlives the run; with a server of its own the heartbeat shows crashes.
    """
    if PREFECT_API_URL.value():
        return nullcontext()
    return temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
