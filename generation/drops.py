"""Rows for the drop ledger: what was dropped, by which step and why."""

from dataclasses import asdict, dataclass

import pyarrow as pa

from generation.schema import CONTEXT_CHARS, DROPS


@dataclass(frozen=True, slots=True)
class Drop:
    """One dropped row; the fields are the columns of `generation.schema.DROPS`."""

    kind: str
    id: str
    stage: str
    step: str
    reason: str
    value: float | None = None
    threshold: float | None = None
    context: str | None = None


def drops_table(drops: list[Drop]) -> pa.Table:
    """Write drops as a table, each context cut to its first characters and to one line."""
    rows = [asdict(drop) | {"context": drop.context and _one_line(drop.context)} for drop in drops]
    return pa.Table.from_pylist(rows, schema=DROPS)


def _one_line(text: str) -> str:
    return text[:CONTEXT_CHARS].replace("\n", " ")
