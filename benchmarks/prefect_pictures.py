"""Photograph Prefect's pages of a run's last round and of one of its tables, for docs/running.md.

    PREFECT_API_URL=http://127.0.0.1:4200/api python -m benchmarks.prefect_pictures FLOW_RUN_ID --output docs/images

The run should be over. Needs Debian's chromium.
"""

import argparse
import os
import time
from pathlib import Path

from tests.browser import Page, open_browser
from tests.prefect_api import PrefectApi

_SETTLE_S = 2.0  # the timeline is a canvas that is drawn after the text, and moves it


def photograph_round(page: Page, ui: str, run: str, path: Path) -> None:
    """Photograph a round: its stages on a timeline and in a list."""
    page.open(f"{ui}/runs/flow-run/{run}")
    page.wait_for_text("Completed", "Failed", "Cancelled", "Crashed")
    time.sleep(_SETTLE_S)
    page.press("Task Runs", "[class*=tab]")
    page.wait_for_text("All run states")
    time.sleep(_SETTLE_S)
    page.photograph(path)


def photograph_table(page: Page, ui: str, artifact: str, path: Path) -> None:
    """Photograph the page of a table."""
    page.open(f"{ui}/artifacts/artifact/{artifact}")
    page.wait_for_text("rows out")
    time.sleep(_SETTLE_S)
    page.photograph(path)


def main() -> None:
    """Read the options and photograph both pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="id of a flow run of self-improve")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    api = PrefectApi(os.environ["PREFECT_API_URL"])
    ui = api.url.removesuffix("/api")
    last = max(api.rounds(options.run), key=lambda one: one["start_time"])["id"]
    with open_browser(width=1400, height=1100) as page:
        photograph_round(page, ui, last, options.output / "prefect_run.png")
        table = api.artifact(last, "stage-evaluation")["id"]
        photograph_table(page, ui, table, options.output / "prefect_artifact.png")


if __name__ == "__main__":
    main()
