"""What a child process says to its parent: events as JSON lines in a pipe, a traceback in the job's log."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO  # Any: JSON values

from flows.child import EVENTS_FD, EVENTS_PATH
from flows.healing import can_heal
from flows.masking import mask, mask_logs
from training.processes.distributed import is_first

Emit = Callable[[dict[str, Any]], None]


@contextmanager
def reporting(job: dict[str, Any]) -> Iterator[Emit]:
    """Send events to the parent; an error is one, and ends this process.

    Of several processes only the first one's events are sent, and the errors of all.
    """
    mask_logs(job)
    sys.excepthook = lambda *error: _write_log(traceback.format_exception(*error), job)
    with _open_events() as events:

        def send(event: dict[str, Any]) -> None:
            events.write(json.dumps(event) + "\n")
            events.flush()

        try:
            yield send if is_first() else lambda _: None
        except (ValueError, RuntimeError, OSError, ImportError) as error:
            _write_log(traceback.format_exception(error), job)
            send(
                {
                    "error": mask(str(error), job),
                    "unexpected": not isinstance(error, ValueError),
                    "can_heal": can_heal(error),
                }
            )
            sys.exit(1)


def _open_events() -> TextIO:
    """Open the parent's pipe, inherited or by its name."""
    path = os.environ.pop(EVENTS_PATH, None)
    if path is not None:
        return open(path, "w")
    return os.fdopen(int(os.environ.pop(EVENTS_FD)), "w", closefd=False)  # `flows.processes` names it to others


def _write_log(lines: list[str], job: dict[str, Any]) -> None:
    """Write a traceback into the job's log, its secrets masked."""
    sys.stderr.write(mask("".join(lines), job))
