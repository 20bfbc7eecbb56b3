"""What a stage and a round show in the Prefect UI: tables of counts, times and figures.

Texts from models stand in tables and code only, never in markup, and each artifact is far below 1 MB: the UI gets slow
beyond.
"""

from typing import Any  # JSON values

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.build import Outcome


def publish_stage(name: str, outcomes: list[Outcome]) -> None:
    """Publish one table for a stage: a row for each dataset it used or built."""
    rows = [
        {
            "dataset": f"{outcome.stage}/{outcome.key}",
            "rows in": outcome.rows_in,
            "rows out": outcome.rows_out,
            "dropped": ", ".join(f"{reason} {count}" for reason, count in outcome.drops.items()) or "none",
            "unscored": outcome.facts.get("unscored", ""),
            "tokens": outcome.facts.get("tokens", ""),
            "seconds": round(outcome.facts["seconds"], 1),
            "from the store": "yes" if outcome.cached else "no",
        }
        for outcome in outcomes
    ]
    create_table_artifact(key=f"stage-{name}", table=rows, description=f"What {name} took in and gave out")


def publish_round(figures: dict[str, Any], reasons: list[str]) -> None:
    """Publish a round's figures and the gate's decision."""
    lines = [f"| {name.replace('_', ' ')} | {_cell(value)} |" for name, value in figures.items()]
    text = "\n".join(["| figure | value |", "|---|---|", *lines, "", *(f"- {reason}" for reason in reasons)])
    create_markdown_artifact(key="round-summary", markdown=text, description="The gate's decision and its figures")


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(_cell(item) for item in value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)
