"""Counts of every filter by source in, the rows of one table out: the largest sources, and the rest in sum."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evaluation.funnel_report import FunnelStepReport

MOST_SOURCES = 20


@dataclass(frozen=True)
class Cell:
    """What one filter did with one source."""

    n_in: int
    n_dropped: int


@dataclass(frozen=True)
class SourceRow:
    """One source, or the sum of several.

    Attributes:
        name: None = unknown.
        n_summed: Sources that are summed up in this row, which has no name then; 0 = it is one source.
        n_in: Pairs of it that came in.
        n_kept: Pairs of it that passed every filter.
        cells: One entry for each filter in `SourceTable.steps`; None where no pair of it came that far.
    """

    name: str | None
    n_summed: int
    n_in: int
    n_kept: int
    cells: list[Cell | None]


@dataclass(frozen=True)
class SourceTable:
    """Sources by filters.

    Attributes:
        steps: Names of the filters that dropped something of known sources, in their order.
        n_idle: Filters that dropped nothing and are left out.
        rows: The largest sources first.
    """

    steps: list[str]
    n_idle: int
    rows: list[SourceRow]


def count_sources(steps: Sequence[FunnelStepReport]) -> SourceTable | None:
    """Make the table; None where no source is known."""
    n_in, n_dropped = dict[str | None, int](), Counter[str | None]()
    for step in steps:
        for name, (came, dropped) in step.sources.items():
            n_in.setdefault(name, came)
            n_dropped[name] += dropped
    if set(n_in) <= {None}:
        return None
    busy = [step for step in steps if step.n_dropped and step.sources]
    ordered = sorted(n_in, key=lambda name: (-n_in[name], name is None, name or ""))
    first = ordered if len(ordered) <= MOST_SOURCES + 1 else ordered[:MOST_SOURCES]
    rest = ordered[len(first) :]

    def row(names: Sequence[str | None], name: str | None, n_summed: int) -> SourceRow:
        came = sum(n_in[one] for one in names)
        cells = [_cell(step.sources[one] for one in names if one in step.sources) for step in busy]
        return SourceRow(name, n_summed, came, came - sum(n_dropped[one] for one in names), cells)

    rows = [row([name], name, 0) for name in first]
    if rest:
        rows.append(row(rest, None, len(rest)))
    return SourceTable([step.step for step in busy], sum(not step.n_dropped for step in steps), rows)


def _cell(counts: Iterable[tuple[int, int]]) -> Cell | None:
    found = list(counts)
    n_in = sum(came for came, _ in found)
    return Cell(n_in, sum(dropped for _, dropped in found)) if n_in else None
