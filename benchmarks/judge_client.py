"""Measure the client of language-model judges against a mock server: speed, CPU, memory, faults, kills.

    python benchmarks/judge_client.py --mock MOCK [--rounds 3] [--only PART ...] [--output FILE] [--json]

MOCK is an OpenAI-compatible mock server that takes --port, --latency-ms, --dist constant, --reply rating, --fault-rate,
--hang-s, --retry-after and answers /health, /stats and /reset. Each client runs in a process of its own; within a round
the forms take turns, and ratios are of one round. Speed is a share of ideal: calls in flight / latency. Exits with 1
where a goal is missed. FILE keeps the parts that are not measured anew.
"""

import argparse
import itertools
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any  # values of JSON

ROOT = Path(__file__).resolve().parents[1]
FORMS = ("raw", "openai", "openai_aiohttp", "judge")
LATENCY_S = 0.2
WAVES = 16  # rows of a cell / calls in flight; two of them warm up
FAULT_ROWS, FAULT_RATE = 5000, 0.2
KILL_ROWS, KILLS, KILLED_IN_FLIGHT = 3000, 3, 64
MEMORY_ROWS = 100_000

Measured = dict[str, Any]


class Mock:
    """A running mock server."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> Measured:
        """Read what the server says at a path."""
        with urllib.request.urlopen(f"{self.url}/{path}", timeout=10) as response:
            said = response.read()
        return json.loads(said) if said.startswith(b"{") else {}


@contextmanager
def serve(script: Path, *options: str) -> Iterator[Mock]:
    """Run the mock server on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(script), "--port", str(port), "--dist", "constant", "--reply", "rating", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        mock = Mock(port)
        try:
            for _ in range(100):
                try:
                    mock.get("health")
                    break
                except OSError:
                    time.sleep(0.1)
            yield mock
        finally:
            process.terminate()


def start(form: str, mock: Mock, *options: object) -> subprocess.Popen[str]:
    """Start a client."""
    module = [sys.executable, "-m", "benchmarks.judge_client_forms", form, "--url", f"{mock.url}/v1"]
    return subprocess.Popen([*module, *map(str, options)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def run(form: str, mock: Mock, *options: object) -> Measured:
    """Run a client to its end and give what it measured."""
    with start(form, mock, *options) as process:
        said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the client {form} ended with {process.returncode}")
    return json.loads(said)


def measure_speed(script: Path, rounds: int) -> Measured:
    """Compare the forms at 64 and 256 calls in flight and a constant latency."""
    cells: Measured = {}
    with serve(script, "--latency-ms", str(1000 * LATENCY_S)) as mock:
        for turn in range(rounds):
            for in_flight in (64, 256):
                ideal = in_flight / LATENCY_S
                for form in FORMS[turn % 4 :] + FORMS[: turn % 4]:
                    said = run(form, mock, "--concurrency", in_flight, "--rows", WAVES * in_flight)
                    cell = cells.setdefault(str(in_flight), {}).setdefault(form, {"of_ideal": [], "cpu_ms": []})
                    cell["of_ideal"].append(round(said["rows_per_s"] / ideal, 3))
                    cell["cpu_ms"].append(round(said["cpu_ms"], 3))
    return {"cells": cells, **_ratios(cells)}


def _ratios(cells: Measured) -> Measured:
    def of(in_flight: str, form: str, what: str) -> list[float]:
        return cells[in_flight][form][what]

    def median_ratio(in_flight: str, what: str, *others: str) -> float:
        best = max if what == "of_ideal" else min
        rows = zip(of(in_flight, "judge", what), *(of(in_flight, other, what) for other in others), strict=True)
        return round(statistics.median(ours / best(theirs) for ours, *theirs in rows), 3)

    bare = ("openai", "openai_aiohttp")
    return {
        "of_ideal_64": round(statistics.median(of("64", "judge", "of_ideal")), 3),
        "rate_to_best_openai_64": median_ratio("64", "of_ideal", *bare),
        "rate_to_default_openai_256": median_ratio("256", "of_ideal", "openai"),
        "cpu_to_best_openai_64": median_ratio("64", "cpu_ms", *bare),
        "cpu_to_best_openai_256": median_ratio("256", "cpu_ms", *bare),
    }


def measure_memory(script: Path) -> Measured:
    """Compare the peak of resident memory after 1,000 rows with that after 100,000."""
    with serve(script, "--latency-ms", "0") as mock:
        said = run("judge", mock, "--concurrency", 64, "--rows", MEMORY_ROWS)
    peaks = {int(rows): round(peak, 2) for rows, peak in said["peaks_mb"].items()}
    growth = round(peaks[MEMORY_ROWS] - peaks[1000], 2)
    return {"peaks_mb": peaks, "growth_mb": growth, "rows_per_s": round(said["rows_per_s"], 1)}


def measure_faults(script: Path) -> Measured:
    """Judge with a fifth of the requests failing, then once more on the same store."""
    options = ("--latency-ms", "20", "--fault-rate", str(FAULT_RATE), "--hang-s", "2", "--retry-after", "0.1")
    runs = []
    with serve(script, *options) as mock, tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            client = ("--concurrency", 64, "--rows", FAULT_ROWS, "--timeout-s", 1, "--store", folder, "--check-rows")
            said = run("judge", mock, *client)
            stats = mock.get("stats")
            kept = ("rows", "distinct_rows", "reasons", "spent")
            served = ("requests", "kinds", "keys_ok_twice")
            runs.append({key: said[key] for key in kept} | {key: stats[key] for key in served})
    return {"first": runs[0], "again": runs[1]}


def measure_kills(script: Path) -> Measured:
    """Kill the client (SIGKILL) amid its work, run it again, and count the questions that are asked twice."""
    repeated = []
    with serve(script, "--latency-ms", str(1000 * LATENCY_S)) as mock, tempfile.TemporaryDirectory() as folder:
        options = ("--concurrency", KILLED_IN_FLIGHT, "--rows", KILL_ROWS, "--store", folder)
        for kill in range(1, KILLS + 1):
            with start("judge", mock, *options) as process:
                while mock.get("stats")["requests"] < kill * KILL_ROWS / (KILLS + 1):
                    time.sleep(0.02)
                process.send_signal(signal.SIGKILL)
            repeated.append(_asked_twice(mock))
        said = run("judge", mock, *options)
        repeated.append(_asked_twice(mock))
    each = [after - before for before, after in itertools.pairwise(repeated)]
    return {"in_flight": KILLED_IN_FLIGHT, "repeated_per_kill": each, "rows": said["rows"], "reasons": said["reasons"]}


def _asked_twice(mock: Mock) -> int:
    while (stats := mock.get("stats"))["inflight"]:
        time.sleep(0.05)
    return stats["requests"] - stats["keys"]


def _is_whole(run: Measured) -> bool:
    return run["rows"] == run["distinct_rows"] == sum(run["reasons"].values()) == FAULT_ROWS


GOALS = {
    "speed": {
        "of_ideal_64 >= .82": lambda m: m["of_ideal_64"] >= 0.82,
        "rate_to_best_openai_64 >= .95": lambda m: m["rate_to_best_openai_64"] >= 0.95,
        "rate_to_default_openai_256 >= 1.3": lambda m: m["rate_to_default_openai_256"] >= 1.3,
        "cpu_to_best_openai_64 <= 1.25": lambda m: m["cpu_to_best_openai_64"] <= 1.25,
        "cpu_to_best_openai_256 <= 1.25": lambda m: m["cpu_to_best_openai_256"] <= 1.25,
    },
    "memory": {"growth_mb <= 10": lambda m: m["growth_mb"] <= 10},
    "faults": {
        "all rows end, none twice": lambda m: all(_is_whole(m[run]) for run in ("first", "again")),
        "no answered question asked again": lambda m: m["again"]["keys_ok_twice"] == 0,
    },
    "kills": {
        "repeats <= calls in flight": lambda m: max(m["repeated_per_kill"]) <= KILLED_IN_FLIGHT,
        "all rows end": lambda m: m["reasons"] == {"None": KILL_ROWS},
    },
}


def _circumstances() -> Measured:
    names = ("openai", "aiohttp", "httpx2", "pydantic")
    versions = {"python": platform.python_version()} | {name: version(name) for name in names}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"date": date, "cores": os.cpu_count(), "load_1min": round(os.getloadavg()[0], 1), "versions": versions}


def show(result: Measured) -> None:
    """Print tables for people."""
    for in_flight, forms in result.get("speed", {}).get("cells", {}).items():
        print(f"\n{in_flight} in flight at {LATENCY_S:g} s: share of ideal min/median/max, CPU ms a call (median)")
        for form in FORMS:
            shares, cpu = sorted(forms[form]["of_ideal"]), statistics.median(forms[form]["cpu_ms"])
            print(f"  {form:15} {shares[0]:.2f}/{statistics.median(shares):.2f}/{shares[-1]:.2f}  {cpu:.2f}")
    for part in ("speed", "memory", "faults", "kills"):
        if part in result:
            print(f"\n{part}: {json.dumps({key: value for key, value in result[part].items() if key != 'cells'})}")
    for goal, reached in result["goals"].items():
        print(f"{'reached' if reached else 'MISSED '}  {goal}")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mock", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(GOALS), default=list(GOALS))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    args = parser.parse_args()
    measures = {
        "speed": lambda: measure_speed(args.mock, args.rounds),
        "memory": lambda: measure_memory(args.mock),
        "faults": lambda: measure_faults(args.mock),
        "kills": lambda: measure_kills(args.mock),
    }
    result: Measured = json.loads(args.output.read_text()) if args.output and args.output.exists() else {"goals": {}}
    for part in args.only:
        result[part] = measures[part]()
        result[part]["run"] = _circumstances()
        result["goals"] |= {goal: bool(test(result[part])) for goal, test in GOALS[part].items()}
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(result, indent=2) + "\n")
    if args.json:
        print(json.dumps(result))
    else:
        show(result)
    if not all(result["goals"].values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
