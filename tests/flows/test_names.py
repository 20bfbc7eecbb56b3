"""A Prefect path entrypoint puts `flows/` first on sys.path for good, so no file in it may shadow a module."""

import importlib.metadata
import sys
from pathlib import Path

FLOWS = Path(__file__).parents[2] / "flows"
STAGES = {"generation", "judging", "filtering", "training", "evaluation", "recipes", "flows"}


def test_no_file_in_flows_is_named_like_a_stage_or_an_installed_module():
    names = {path.stem for path in FLOWS.glob("*.py")} - {"__init__"}
    assert not names & STAGES
    assert not names & set(sys.stdlib_module_names)
    assert not names & set(importlib.metadata.packages_distributions())
