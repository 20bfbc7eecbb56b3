"""How far a stage is, on Prefect's page: from the same events as the terminal's bar, about every three seconds.

A thread of its own sends: a slow server must not hold up the reading of the child's events. The page is a help, so a
server that does not answer ends the showing and not the stage.
"""

import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast  # Any: JSON values
from uuid import UUID

from flows.plain import cell

_log = logging.getLogger(__name__)
_EVERY_S = 3.0
_KEY = "progress"


@contextmanager
def prefect_progress(title: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that takes progress events, and show them where a server listens and a task runs."""
    if not _server_listens() or not _runs_in_task():
        yield lambda _: None
        return
    show = Show(title)
    try:
        yield show.take
    finally:
        show.end()


def _server_listens() -> bool:
    from prefect.settings import PREFECT_API_URL

    return bool(PREFECT_API_URL.value())


def _runs_in_task() -> bool:
    from prefect.context import TaskRunContext

    return TaskRunContext.get() is not None


class Show:
    """A progress artifact and the thread that keeps it up to date."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._event: dict[str, Any] | None = None  # the latest, until it is sent
        self._artifact: UUID | None = None
        self._over = threading.Event()
        context = contextvars.copy_context()  # names the task run
        self._thread = threading.Thread(target=context.run, args=(self._follow,), name="progress", daemon=True)
        self._thread.start()

    def take(self, event: dict[str, Any]) -> None:
        """Note where the stage is."""
        self._event = event

    def end(self) -> None:
        """Send what is left and end the thread; takes no longer than two requests may."""
        self._over.set()
        self._thread.join()

    def _follow(self) -> None:
        import httpx
        from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            try:
                while not self._over.wait(_EVERY_S):
                    self._send()
                self._send()
            except httpx.HTTPError as error:
                _log.warning("the progress of %s is no longer shown in Prefect: %r", self._title, error)

    def _send(self) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        event, self._event = self._event, None
        if event is None:
            return
        done, total = event.get("done", 0), event.get("total")
        progress = round(100 * done / total, 1) if total else 0.0
        title = f"{self._title}: {event['what']}" if event.get("what") else self._title
        words = f"{title}: {done} of {total or 'an unknown number'} {event.get('note', '')}"
        if self._artifact is None:
            created = create_progress_artifact(progress=progress, key=_KEY, description=cell(words))
            self._artifact = cast(UUID, created)  # no coroutine, since no loop runs in this thread
        else:
            update_progress_artifact(self._artifact, progress=progress, description=cell(words))
