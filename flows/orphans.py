"""Processes that a killed run has left: Prefect's embedded server outlives a parent that is killed outright.

A run marks its own environment, which its children inherit; the next run, of whatever recipe, ends those whose run is
dead. The mark names the run by pid and start (`flows.locks.ProcessId`), so a pid used again is no reason.
"""

import json
import logging
import os
from contextlib import suppress

import psutil

from flows.locks import ProcessId

_MARK = "PREFLOOP_RUN_PROCESS"
_log = logging.getLogger(__name__)


def end_orphans() -> None:
    """Mark this process as a run, after ending what the children of dead runs of this user still do."""
    own = ProcessId.of(os.getpid())
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError, ValueError):  # gone meanwhile, another user's, or somebody else's mark
            mark = process.environ().get(_MARK)
            run = ProcessId.from_json(json.loads(mark)) if mark else None
            if run is not None and run.boot == own.boot and not run.is_alive():  # another container's may live
                _log.warning("ending process %d, left behind by a killed run", process.pid)
                process.kill()
    os.environ[_MARK] = json.dumps(vars(own))
