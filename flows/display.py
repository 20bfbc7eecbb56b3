"""Progress on the terminal: a bar for the stage at work, with rows per second and the time left.

The command line opens a display; without one (under a Prefect worker) progress goes to the log.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any  # JSON values

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_log = logging.getLogger(__name__)
_current: ContextVar[Progress | None] = ContextVar("prefloop_display", default=None)


class _SpeedColumn(ProgressColumn):
    """Rows per second, once there is something to measure."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.{0 if speed >= 10 else 1}f}/s" if speed else "", style="progress.data.speed")


@contextmanager
def terminal_display(console: Console) -> Iterator[Progress]:
    """Show bars on a console until the block ends."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _SpeedColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=console, transient=False) as progress:
        token = _current.set(progress)
        try:
            yield progress
        finally:
            _current.reset(token)


@contextmanager
def stage_bar(title: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that takes a stage's progress events: `done`, `total`, and a `note` to show."""
    progress = _current.get()
    if progress is None:
        yield _log_progress(title)
        return
    task = progress.add_task(title, total=None, note="starting")
    try:
        yield lambda event: progress.update(
            task, completed=event.get("done", 0), total=event.get("total"), note=event.get("note", "")
        )
    finally:
        progress.stop_task(task)
        progress.update(task, note="")


def _log_progress(title: str) -> Callable[[dict[str, Any]], None]:
    """Log about every tenth of a stage."""
    shown = -1

    def on_event(event: dict[str, Any]) -> None:
        nonlocal shown
        done, total = event.get("done", 0), event.get("total")
        tenth = 10 * done // total if total else shown
        if tenth > shown:
            shown = tenth
            _log.info("%s: %d of %d %s", title, done, total, event.get("note", ""))

    return on_event
