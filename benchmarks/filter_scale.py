"""Measure `prefloop filter` at growing numbers of pairs: wall time and the peak memory of all its processes.

    python benchmarks/filter_scale.py --pairs SMALL.parquet LARGE.parquet [--preset standard] [--output FILE] [--json]

Each file goes through the command as users call it, in a process of its own, from nothing and then once more with
another threshold (only deciding and writing). Peak memory is the largest sum of the resident memory (proportional set
size: pages that processes share count once) of the command and its children, looked at every 0.1 s. With two files the
ratios of large to small are held against the goals: memory at most 2 GiB and 1.3 times, time at most 11 times for ten
times the rows.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any  # values of JSON

import psutil
import pyarrow.parquet as pq

MOST_BYTES, MOST_MEMORY_RATIO, MOST_TIME_RATIO = 2 * 2**30, 1.3, 11.0

Measured = dict[str, Any]


def run(source: Path, output: Path, preset: str, *settings: str) -> Measured:
    """Filter a file; give the command's own counts, wall seconds and the peak of memory."""
    command = [str(Path(sys.executable).with_name("prefloop")), "filter", "--input", str(source)]
    command += ["--output", str(output), "--preset", preset, "--json", *settings]
    started, peak = time.monotonic(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, _memory(watched))
            time.sleep(0.1)
        said = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"prefloop filter ended with {process.returncode}")
    counts = {name: value for name, value in json.loads(said).items() if name != "output"}
    wall = time.monotonic() - started
    return {"wall_s": round(wall, 1), "peak_mib": round(peak / 2**20), "counts": counts}


def _memory(process: psutil.Process) -> int:
    total = 0
    try:
        tree = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for one in tree:
        try:
            total += one.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it has ended meanwhile
            continue
    return total


def measure(source: Path, preset: str) -> Measured:
    """Filter a file from nothing, then with another threshold."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "filtered"
        first = run(source, output, preset)
        again = run(source, output, preset, "--set", "similarity.max_similarity=0.95")
    return {"rows": pq.read_metadata(source).num_rows, "first": first, "again": again}


def hold(small: Measured, large: Measured) -> dict[str, bool]:
    """Hold the ratios against the goals."""
    rows = large["rows"] / small["rows"]
    memory = large["first"]["peak_mib"] / small["first"]["peak_mib"]
    seconds = large["first"]["wall_s"] / small["first"]["wall_s"]
    return {
        f"peak memory {large['first']['peak_mib']} MiB <= 2048": large["first"]["peak_mib"] * 2**20 <= MOST_BYTES,
        f"memory grows {memory:.2f} times <= {MOST_MEMORY_RATIO} for {rows:g} times the rows": (
            memory <= MOST_MEMORY_RATIO
        ),
        f"time grows {seconds:.1f} times <= {MOST_TIME_RATIO / 10 * rows:g}": seconds <= MOST_TIME_RATIO / 10 * rows,
    }


def main() -> None:
    """Measure each file in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--json", action="store_true", help="print JSON in place of lines")
    args = parser.parse_args()
    runs = [measure(source, args.preset) for source in args.pairs]
    result: Measured = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version(), "pyarrow": version("pyarrow"), "rensa": version("rensa")},
        "preset": args.preset,
        "runs": runs,
        "goals": hold(runs[0], runs[-1]) if len(runs) > 1 else {},
    }
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(result, indent=1) + "\n")
    if args.json:
        print(json.dumps(result))
    else:
        for one in runs:
            for name in ("first", "again"):
                found = one[name]
                print(f"{one['rows']:>9,} pairs {name:6} {found['wall_s']:7.1f} s  peak {found['peak_mib']:5} MiB")
            print(f"          dropped {one['first']['counts']['dropped']}")
        for goal, reached in result["goals"].items():
            print(f"{'reached' if reached else 'MISSED '}  {goal}")
    if not all(result["goals"].values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
