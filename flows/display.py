"""Progress on the terminal: a bar for the stage at work, with rows per second and the time left.

The command line opens a display: bars on a terminal, lines into a file or a pipe. Without one (under a Prefect worker)
progress goes to the log. Prefect's page gets the same events (`flows.progress`).
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
from rich.table import Column
from rich.text import Text

from flows.progress import prefect_progress

_log = logging.getLogger(__name__)
_LEAST_BAR, _MOST_BAR = 10, 40  # columns
_bars: ContextVar[Progress | None] = ContextVar("prefloop_bars", default=None)
_say: ContextVar[Callable[[str], None] | None] = ContextVar("prefloop_say", default=None)


class _SpeedColumn(ProgressColumn):
    """Rows per second, once there is something to measure."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.{0 if speed >= 10 else 1}f}/s" if speed else "", style="progress.data.speed")


@contextmanager
def terminal_display(console: Console) -> Iterator[None]:
    """Show bars on a terminal until the block ends, or lines where the console is a file or a pipe."""
    if not console.is_terminal:
        token = _say.set(lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))
        try:
            yield
        finally:
            _say.reset(token)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=max(_LEAST_BAR, min(_MOST_BAR, console.width // 4 - _LEAST_BAR))),
        MofNCompleteColumn(),
        _SpeedColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        # The one column that gives way where the terminal is narrow.
        TextColumn("{task.fields[note]}", style="dim", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    )
    with Progress(*columns, console=console, expand=True) as progress:
        token = _bars.set(progress)
        try:
            yield
        finally:
            _bars.reset(token)


@contextmanager
def stage_bar(title: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that takes a stage's progress events: `done`, `total`, a `note` to show.

    A stage of several parts says in `what` which one it is at; each counts from zero.
    """
    with _terminal_bar(title) as show, prefect_progress(title) as publish:

        def on_event(event: dict[str, Any]) -> None:
            show(event)
            publish(event)

        yield on_event


@contextmanager
def _terminal_bar(title: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    progress = _bars.get()
    if progress is None:
        yield _tell_tenths(title, _say.get() or _log.info)
        return
    task = progress.add_task(title, total=None, note="starting")
    part = ""

    def on_event(event: dict[str, Any]) -> None:
        nonlocal part
        if event.get("what", "") != part:  # so that speed and time left are those of this part
            part = event.get("what", "")
            progress.reset(task, description=f"{title}: {part}" if part else title)
        progress.update(task, completed=event.get("done", 0), total=event.get("total"), note=event.get("note", ""))

    try:
        yield on_event
    finally:
        progress.stop_task(task)
        progress.update(task, note="")


def tell(line: str) -> None:
    """Show one line above the bars, or in the log where nobody has opened a display."""
    if progress := _bars.get():
        progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
    elif say := _say.get():
        say(line)
    else:
        _log.warning(line)


def _tell_tenths(title: str, say: Callable[[str], None]) -> Callable[[dict[str, Any]], None]:
    """Say how far a stage is, at its start and every tenth."""
    told, told_of = -1, ""

    def on_event(event: dict[str, Any]) -> None:
        nonlocal told, told_of
        done, total, part = event.get("done", 0), event.get("total"), event.get("what", "")
        if part != told_of:
            told, told_of = -1, part
        tenth = 10 * done // total if total else told
        if tenth > told:
            told = tenth
            name = f"{title}: {part}" if part else title
            say(f"{name}: {done} of {total} {event.get('note', '')}".rstrip())

    return on_event
