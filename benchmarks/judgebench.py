"""Replay recorded verdicts of a judge under Arena-Hard's prompt through our parser, and score them as JudgeBench does.

The file has a row for each pair of answers: `pair_id`, `label` (A>B or B>A: which answer is right), the judge's replies
`reply_ab` and `reply_ba` (the answers shown in this and in the other order; null = none) and the decisions that were
recorded for them, `decision_ab` and `decision_ba` (A>B, A=B or B>A, with A the answer shown first; null = none could be
read).

`agree` counts replies whose decision by our parser is the recorded one; `differ` lists the others. The benchmark's own
scoring (JudgeBench, arXiv 2410.12784) is applied to our decisions: +1 for each order that names the right answer, -1
for each that names the wrong one, 0 for a tie or no decision; a pair is right if the sum is above 0. `accuracy` is the
percentage of right pairs, `inconsistent` the pairs whose two decisions, seen from the same answer, are not the same,
`unparsed` the replies without a decision.

    python benchmarks/judgebench.py FILE --json
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from judging.reading.pair_verdict import parse_arena_hard

COLUMNS = ["pair_id", "label", "reply_ab", "decision_ab", "reply_ba", "decision_ba"]
DECISIONS = {1.0: "A>B", 0.5: "A=B", 0.0: "B>A"}
SWAPPED = {"A>B": "B>A", "A=B": "A=B", "B>A": "A>B", None: None}

Row = dict[str, str | None]


@dataclass(frozen=True)
class Outcome:
    """What the replay gave; see above."""

    pairs: int
    replies: int
    agree: int
    accuracy: float
    inconsistent: int
    unparsed: int
    differ: list[dict[str, str | None]]


def main() -> None:
    """Read the file, replay, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="Parquet file with recorded replies.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    options = parser.parse_args()
    try:
        outcome = replay(read_rows(options.file))
    except ValueError as error:
        parser.error(str(error))
    if options.json:
        print(json.dumps(asdict(outcome)))
        return
    print(f"{outcome.agree} of {outcome.replies} replies get the recorded decision; {outcome.unparsed} have none")
    print(f"accuracy {outcome.accuracy:.2f} %, {outcome.inconsistent} of {outcome.pairs} pairs inconsistent")
    for one in outcome.differ:
        print(f"{one['pair_id']} {one['order']}: recorded {one['recorded']}, ours {one['ours']} ({one['reason']})")


def read_rows(path: Path) -> list[Row]:
    """Read and check the recorded replies.

    Raises:
        ValueError: The file can't be read, lacks a column or rows, or a value is not what it should be.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"{path} can't be read as Parquet: {error}") from error
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise ValueError(f"{path} lacks {', '.join(missing)}; it has {', '.join(table.column_names) or 'no columns'}")
    for name in COLUMNS:
        kind = table.schema.field(name).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
            raise ValueError(f"{path}: {name} must be text, it is {kind}")
    rows = table.select(COLUMNS).to_pylist()
    if not rows:
        raise ValueError(f"{path} has no rows")
    for row in rows:
        _check(row, "label", ["A>B", "B>A"])
        _check(row, "decision_ab", list(SWAPPED))
        _check(row, "decision_ba", list(SWAPPED))
    return rows


def _check(row: Row, name: str, allowed: list[str] | list[str | None]) -> None:
    if row[name] not in allowed:
        wanted = ", ".join("null" if value is None else value for value in allowed)
        raise ValueError(f"pair {row['pair_id']}: {name} must be one of {wanted}, got {row[name]!r}")


def replay(rows: list[Row]) -> Outcome:
    """Parse all replies and score the decisions."""
    differ: list[dict[str, str | None]] = []
    right = inconsistent = unparsed = 0
    for row in rows:
        seen_from_a = []
        for order in ("ab", "ba"):
            verdict = parse_arena_hard(row[f"reply_{order}"] or "")
            ours = None if verdict.win is None else DECISIONS[verdict.win]
            unparsed += ours is None
            seen_from_a.append(ours if order == "ab" else SWAPPED[ours])
            if ours != (recorded := row[f"decision_{order}"]):
                one = {"pair_id": row["pair_id"], "order": order, "recorded": recorded, "ours": ours}
                differ.append({**one, "reason": verdict.reason})
        right += sum(_point(decision, row["label"]) for decision in seen_from_a) > 0
        inconsistent += seen_from_a[0] != seen_from_a[1]
    replies = 2 * len(rows)
    accuracy = round(100 * right / len(rows), 2)
    return Outcome(len(rows), replies, replies - len(differ), accuracy, inconsistent, unparsed, differ)


def _point(decision: str | None, label: str | None) -> int:
    if decision is None or decision == "A=B":
        return 0
    return 1 if decision == label else -1


if __name__ == "__main__":
    main()
