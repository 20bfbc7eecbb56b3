"""Fill the run's report from the store and write it into the run's folder."""

from pathlib import Path
from typing import Any

from flows.recipe import Recipe
from flows.rounds import run_name
from flows.store import Store


def write_report(store: Store, recipe: Recipe, results: list[dict[str, Any]], summary: dict[str, Any]) -> Path:
    """Placeholder until the page exists."""
    return store.run_folder(run_name(recipe)) / "report.html"
