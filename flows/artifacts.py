"""What a stage, a round and a run show in the Prefect UI: tables of counts, times, figures, examples and places.

Nothing here is markup except the code spans of `flows.plain`; each table stays below 100 KB, since the UI gets slow
with more. The page is a help, not the work: a server that is away loses a table and fails no stage.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any  # JSON values

import httpx
from prefect.artifacts import create_table_artifact

from flows.build import Outcome
from flows.plain import CELL_CHARS, cell

_log = logging.getLogger(__name__)
_MOST_BYTES = 100_000
_PATH_CHARS = 1000
_KEY_CHARS = 10  # of a key: enough to find its folder, and the table fits its page
EXAMPLES = 8
Row = dict[str, Any]


def publish_stage(name: str, outcomes: list[Outcome]) -> None:
    """Publish one table for a stage: a row for each dataset it used or built."""
    rows = [
        {
            "dataset": f"{outcome.stage}/{outcome.key[:_KEY_CHARS]}",
            "rows in": outcome.rows_in,
            "rows out": outcome.rows_out,
            "dropped": ", ".join(f"{reason} {count}" for reason, count in outcome.drops.items()) or "none",
            "unscored": outcome.facts.get("unscored"),
            "tokens": outcome.facts.get("tokens"),
            "cost": outcome.facts.get("cost"),
            "seconds": round(float(outcome.facts["seconds"]), 1),
            "from": "the store" if outcome.cached else "built now",
        }
        for outcome in outcomes
    ]
    known = {column for row in rows for column, value in row.items() if value is not None}
    shown = [{column: value for column, value in row.items() if column in known} for row in rows]
    _publish(f"stage-{name}", shown, f"What {name} took in and gave out")


def publish_pairs(rows: list[Row]) -> None:
    """Publish the first eight pairs to train on, rows of `judging.schema.PAIRS`; long texts are cut."""
    shown = [
        {
            "prompt": row["messages"][-1]["content"],
            "chosen": row["chosen"],
            "rejected": row["rejected"],
            "chosen score": row["chosen_score"],
            "rejected score": row["rejected_score"],
        }
        for row in rows[:EXAMPLES]
    ]
    _publish("pairs", shown, "Some of the pairs to train on")


def publish_funnel(outcome: Outcome) -> None:
    """Publish what each filter did with a round's pairs."""
    rows = [
        {
            "filter": step["step"],
            "pairs in": step["in"],
            "dropped": step["dropped"],
            "reasons": ", ".join(f"{reason} {count}" for reason, count in step["reasons"].items()) or "none",
        }
        for step in outcome.facts["funnel"]
    ]
    _publish("funnel", rows, "What each filter dropped, in order")


def publish_round(figures: dict[str, Any], reasons: list[str]) -> None:
    """Publish the gate's decision on a round, its reasons and its figures."""
    rows = [{"figure": "decision", "value": figures["decision"]}]
    rows += [{"figure": "reason", "value": reason} for reason in reasons]
    rows += [
        {"figure": name.replace("_", " "), "value": _range(value)}
        for name, value in figures.items()
        if name != "decision"
    ]
    _publish("round-summary", rows, "The gate's decision and its figures")


def publish_places(places: Mapping[str, Path]) -> None:
    """Publish where datasets, log or report lie; as text, since browsers follow no file:// link from a page."""
    rows = [{"what": what, "where": str(path)} for what, path in places.items()]
    _publish("places", rows, "Where things lie on the machine that ran it", most_chars=_PATH_CHARS)


def _publish(key: str, rows: list[Row], description: str, most_chars: int = CELL_CHARS) -> None:
    """Publish a table of inert cells under a key; the descriptions are our own words."""
    table = [{name: cell(value, most_chars) for name, value in row.items()} for row in rows]
    while len(json.dumps(table)) > _MOST_BYTES:
        table = table[: len(table) // 2]
    try:
        create_table_artifact(key=key, table=table, description=description)
    except httpx.HTTPError as error:  # the server's own log says more
        _log.warning("the table %s is not in Prefect: %r", key, error)


def _range(value: Any) -> Any:
    return " to ".join(f"{item:.3f}" for item in value) if isinstance(value, list) else value
