"""Build a dataset unless it is complete: lock, work, manifest; what every stage shares."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any  # JSON values

import pyarrow as pa

from flows.child import StageError
from flows.locks import Lock
from flows.plan import Step
from flows.recipe import Recipe
from flows.store import MAIN_TABLE, Dataset, Store


@dataclass(frozen=True)
class Workbench:
    """Where a run works and what it follows; its prompts are planned once: what is added meanwhile waits."""

    store: Store
    recipe: Recipe
    prompts: Step

    @property
    def prompts_dataset(self) -> Dataset:
        """The run's prompts."""
        return self.store.dataset(self.prompts.stage, self.prompts.key)


@dataclass(frozen=True)
class Outcome:
    """What a stage did: small enough to travel through Prefect."""

    stage: str
    key: str
    cached: bool
    rows_in: int
    rows_out: int
    drops: dict[str, int]  # reason -> rows
    seconds: float  # of work when it was built; 0.0 where another run had built it
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give the outcome as JSON values."""
        return asdict(self)


Work = Callable[[Dataset, Lock], dict[str, Any]]


def build(store: Store, step: Step, work: Work) -> Outcome:
    """Build a step's dataset unless it is complete, one process at a time.

    Args:
        store: The workspace.
        step: What to build.
        work: Writes the shards and returns facts for the manifest, `rows_in` among them.
    """
    dataset = store.dataset(step.stage, step.key)
    if dataset.manifest() is None:
        with dataset.hold() as lock:
            if dataset.manifest() is None:
                started = time.monotonic()
                facts = work(dataset, lock)
                seconds = round(time.monotonic() - started, 3)
                facts |= {"seconds": seconds, "drops": _drop_counts(dataset)}
                dataset.commit(step.version, step.parts, facts)
                return _outcome(dataset, cached=False)
    return _outcome(dataset, cached=True)


def read_rows(dataset: Dataset) -> pa.Table:
    """Read a dataset that must hold rows."""
    table = dataset.read()
    if table is None:
        raise StageError(f"{dataset.folder}: no data; the stage before left nothing, see its drops")
    return table


def _outcome(dataset: Dataset, *, cached: bool) -> Outcome:
    manifest = dataset.manifest()
    if manifest is None:
        raise StageError(f"{dataset.folder}: the manifest vanished while the run used it; run again")
    return Outcome(
        stage=dataset.stage,
        key=dataset.key,
        cached=cached,
        rows_in=manifest.facts["rows_in"],
        rows_out=manifest.rows.get(MAIN_TABLE, 0),
        drops=manifest.facts["drops"],
        seconds=0.0 if cached else manifest.facts["seconds"],
        facts=manifest.facts,
    )


def _drop_counts(dataset: Dataset) -> dict[str, int]:
    drops = dataset.read("drops", columns=["reason"])
    return dict(Counter(drops.column("reason").to_pylist()).most_common()) if drops is not None else {}
