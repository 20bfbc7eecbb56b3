"""Does the maths verifier say what other people found?

Reads a Parquet file of answers that are known to be right or wrong, judges them, and compares.

    python benchmarks/verifier_agreement.py answers.parquet [--json]

The file has the columns answer (the reference), response and is_correct; model is shown if it is there. With `--json`,
standard output is one object: rows, agree and differ are numbers of rows, `differing` lists the rows that differ.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from judging.checking.marks import find_marked
from judging.judge import Item, Verdict
from judging.maths import Maths

COLUMNS = ["answer", "response", "is_correct"]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the file, or end with what it lacks."""
    if not path.is_file():
        sys.exit(f"{path} is no file")
    names = pq.read_schema(path).names
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        sys.exit(f"{path} has no column {', '.join(missing)}; it has {', '.join(names)}")
    return pq.read_table(path, columns=[*COLUMNS, *(["model"] if "model" in names else [])]).to_pylist()


def judge(rows: list[dict[str, Any]]) -> list[Verdict]:
    """Give the verifier's verdict on each row."""
    items = [Item(str(n), str(n), [], row["response"] or "", row["answer"], {}) for n, row in enumerate(rows)]
    with Maths() as maths:
        verdicts = dict(maths.score(enumerate(items)))
    return [verdicts[number] for number in range(len(rows))]


def find_differences(rows: list[dict[str, Any]], verdicts: list[Verdict]) -> Iterator[dict[str, Any]]:
    """Yield each row, counted from 0, whose verdict is not the recorded one, and what the verifier read."""
    for number, (row, verdict) in enumerate(zip(rows, verdicts, strict=True)):
        if verdict.score != float(row["is_correct"]):
            yield {
                "row": number, "model": row.get("model"), "is_correct": row["is_correct"], "score": verdict.score,
                "reason": verdict.reason, "reference": row["answer"], "read": find_marked(row["response"] or ""),
            }  # fmt: skip


def main() -> None:
    """Print how many rows agree, and the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    rows = read_rows(args.file)
    start = time.perf_counter()
    verdicts = judge(rows)
    seconds = time.perf_counter() - start
    differing = list(find_differences(rows, verdicts))
    result = {
        "rows": len(rows),
        "agree": len(rows) - len(differing),
        "differ": len(differing),
        "unscored": sum(verdict.score is None for verdict in verdicts),
        "seconds": round(seconds, 2),
        "differing": differing,
    }
    if args.json:
        print(json.dumps(result))
        return
    print_table(rows, verdicts, result)


def print_table(rows: list[dict[str, Any]], verdicts: list[Verdict], result: dict[str, Any]) -> None:
    """Print the counts of each model, then each row that differs."""
    wrong = {difference["row"] for difference in result["differing"]}
    models = [str(row.get("model") or "all") for row in rows]
    total, right, marked = Counter(models), Counter[str](), Counter[str]()
    for number, (model, verdict) in enumerate(zip(models, verdicts, strict=True)):
        right[model] += number not in wrong
        marked[model] += bool(verdict.aspects and verdict.aspects["marked"])
    print(f"{'model':24}{'rows':>8}{'marked':>8}{'agree':>8}{'share':>9}")
    for model in sorted(total):
        share = right[model] / total[model]
        print(f"{model:24}{total[model]:8}{marked[model]:8}{right[model]:8}{share:9.2%}")
    print(f"{result['agree']} of {result['rows']} rows agree, {result['unscored']} unscored, {result['seconds']} s")
    for difference in result["differing"]:
        print(difference)


if __name__ == "__main__":
    main()
