"""Several processes for one training job: `python -m flows.processes JOB` starts as many `flows.worker JOB`.

This is the child that `flows.child` starts, records and ends. torchrun's agent, or that of `accelerate launch`, runs in
it: it connects the workers, and when one fails it ends the others. They have sessions of their own, so the kernel ends
them with this process, however that happens (Linux). The first of them reports; an error is reported by whichever has
it.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any  # JSON values

from flows.child import EVENTS_FD, EVENTS_PATH, PARENT_PID
from flows.reporting import reporting
from flows.worker import die_with_parent
from training.processes.distributed import check_devices
from training.processes.distributed_config import DistributedConfig

_WORKER = "flows.worker"


def main() -> None:
    """Start the workers of the job named on the command line, and wait for their end."""
    die_with_parent(int(os.environ.pop(PARENT_PID)))
    job, events = json.loads(sys.argv[1]), os.environ[EVENTS_FD]
    with reporting(job):
        launch = _launcher(job)  # what the machine can't do is said here, once
    os.environ |= {
        EVENTS_PATH: f"/proc/{os.getpid()}/fd/{events}",
        PARENT_PID: str(os.getpid()),
        "PYTHONSAFEPATH": "1",  # as -P: the user's folder may hold training.py
    }
    launch()


def _launcher(job: dict[str, Any]) -> Callable[[], None]:
    """Choose how the workers are started.

    Raises:
        ValueError: This machine can't do it, or a file of the recipe is missing.
        ModuleNotFoundError: DeepSpeed is wanted and not installed.
    """
    config = DistributedConfig(**job["config"]["distributed"])
    if sys.platform != "linux":
        raise ValueError("training.distributed: several processes are started on Linux only; leave it out")
    check_devices(config)
    worker = ["-m", _WORKER, sys.argv[1]]
    if config.file is None:
        return lambda: _torchrun(["--standalone", "--nproc_per_node", str(config.processes), *worker])
    _check_file(config.file)
    options = ["--config_file", str(config.file), "--num_processes", str(config.processes), "--main_process_port", "0"]
    return lambda: _accelerate([*options, *worker])


def _torchrun(arguments: list[str]) -> None:
    from torch.distributed.run import main

    main(arguments)


def _accelerate(arguments: list[str]) -> None:
    from accelerate.commands.launch import launch_command, launch_command_parser

    launch_command(launch_command_parser().parse_args(arguments))


def _check_file(file: Path) -> None:
    from accelerate.commands.config import load_config_from_file

    if not file.is_file():
        raise ValueError(f"training.distributed.accelerate_config: {file} does not exist")
    config = load_config_from_file(str(file))
    if config.distributed_type == "DEEPSPEED":
        try:
            import deepspeed  # noqa: F401  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{file} wants DeepSpeed: pip install deepspeed", name="deepspeed") from error


if __name__ == "__main__":
    main()
