"""Measure what Prefect costs: a finished run again and again, all from the store, with and without a server.

    python -m benchmarks.prefect_cost RECIPE --workspace WORKSPACE [--server URL] [--times 5] [--set FIELD=VALUE]

The workspace must hold the finished run. Each time is a process of its own; the seconds are those of `prefloop run
--json`: `imports` (Python's), `prefect` (flow and task runs, the embedded server where none is named) and `own`.
The largest task result is that of JSON, measured by a hook on each task's completion in one more run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any  # whatever a task returns

from flows.terminal import quiet_prefect


def time_runs(command: list[str], server: str | None, times: int) -> list[dict[str, float]]:
    """Run a command several times and give the seconds of each run."""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    if server:
        environment["PREFECT_API_URL"] = server
    seconds = []
    for _ in range(times):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        summary = json.loads(done.stdout)
        if summary["built_stages"]:
            raise SystemExit(f"{summary['built_stages']} stages were built: run the recipe to its end first")
        seconds.append({**summary["seconds_by"], "whole": summary["seconds"]})
    return seconds


def measure_results(recipe: Path, overrides: list[str], workspace: Path) -> dict[str, int]:
    """Run the flow here and give the largest result of each task as bytes of JSON."""
    quiet_prefect()
    from prefect import Task

    from flows import self_improve
    from flows.recipe import load_recipe

    largest: dict[str, int] = {}

    def note(task: Any, _run: object, state: Any) -> None:
        size = len(json.dumps(state.result()))
        largest[task.name] = max(size, largest.get(task.name, 0))

    for one in vars(self_improve).values():
        if isinstance(one, Task):
            one.on_completion(note)
    fields = load_recipe(recipe, overrides).model_dump(mode="json")
    self_improve.self_improve(fields, str(workspace.resolve()))
    return largest


def show(title: str, seconds: list[dict[str, float]]) -> None:
    """Print the median and the range of each part."""
    parts = (
        f"{name} {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
        for name in seconds[0]
        for values in [[one[name] for one in seconds]]
    )
    print(f"{title}, {len(seconds)} runs, seconds: {', '.join(parts)}")


def main() -> None:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--server", help="API of a Prefect server, such as http://127.0.0.1:4200/api")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    prefloop = str(Path(sys.executable).with_name("prefloop"))
    command = [prefloop, "run", str(options.recipe), "--workspace", str(options.workspace), "--json"]
    command += [f"--set={override}" for override in options.overrides]
    show("embedded", time_runs(command, None, options.times))
    if options.server:
        show("with a server", time_runs(command, options.server, options.times))
    largest = measure_results(options.recipe, options.overrides, options.workspace)
    print("largest task result, bytes of JSON:", ", ".join(f"{name} {size}" for name, size in largest.items()))


if __name__ == "__main__":
    main()
