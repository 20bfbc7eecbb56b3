"""The deciding half of filtering: facts of all pairs in, for each pair the filter that drops it and why out.

Filters run in the recipe's order, each on what the ones before it left. Memory grows by some tens of bytes a pair.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from filtering.catalogue import FILTERS
from filtering.config import FilterChoice
from filtering.filter import Facts, Filter, Ints
from filtering.measured import Bools, Context, Floats, Measured

N_SAMPLES = 20
_TINY = 1e-9
_NEAR = 0.25  # of a threshold: what is farther off is no near miss

Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]


@dataclass(frozen=True)
class Identities:
    """Who the pairs are, in their order.

    Attributes:
        low: Lower half of the hash of each pair's id.
        high: Upper half.
        margin: Score of the chosen answer less that of the rejected one; NaN = unknown.
        source: Number of the pair's source in `sources`.
        sources: Names of sources; None among them = unknown.
    """

    low: Hashes
    high: Hashes
    margin: Floats
    source: Ints
    sources: list[str | None]

    @classmethod
    def read(cls, tables: Sequence[pa.Table]) -> "Identities":
        """Collect what was measured of all parts (`filtering.measuring.measure_identity`)."""
        table = pa.concat_tables(tables).unify_dictionaries()
        coded = table["source"].combine_chunks().dictionary_encode(null_encoding="encode")
        margin = table["margin"].to_numpy().astype(np.float64)
        source = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        return cls(table["low"].to_numpy(), table["high"].to_numpy(), margin, source, coded.dictionary.to_pylist())

    def __len__(self) -> int:
        return len(self.low)

    def best_first(self) -> Ints:
        """Order by margin, the largest first and unknown ones last; equal ones by the hash of their ids."""
        return np.lexsort((self.low, self.high, np.where(np.isnan(self.margin), np.inf, -self.margin)))

    def doubled(self) -> Ints:
        """Give the rows of two pairs with one id; empty where each id stands once."""
        order = np.lexsort((self.low, self.high))
        low, high = self.low[order], self.high[order]
        same = np.flatnonzero((low[1:] == low[:-1]) & (high[1:] == high[:-1]))
        return np.sort(order[same[0] : same[0] + 2]) if same.size else np.empty(0, dtype=np.int64)


class Why(NamedTuple):
    """Why a filter drops pairs."""

    step: str
    reason: str
    threshold: float | None
    has_values: bool
    context: Context


class Sighting(NamedTuple):
    """One pair that a filter met, for people to look at: its row, and what was measured."""

    row: int
    reason: str
    value: float | None
    threshold: float | None


@dataclass(frozen=True)
class FunnelStep:
    """What one filter did.

    Attributes:
        step: Its name.
        n_in: Pairs that came in.
        n_dropped: Pairs that it dropped.
        reasons: Pairs dropped by reason, the most frequent first.
        sources: Pairs that came in and pairs dropped, by source.
        dropped: A sample of what it dropped, the same whatever the order of rows.
        near_misses: Kept pairs with values closest to a threshold.
    """

    step: str
    n_in: int
    n_dropped: int
    reasons: dict[str, int]
    sources: dict[str | None, tuple[int, int]]
    dropped: list[Sighting]
    near_misses: list[Sighting]


@dataclass(frozen=True)
class Decision:
    """What becomes of each pair.

    Attributes:
        why: Number of the reason in `whys` for each pair; -1 = kept.
        values: What was measured for it; NaN where kept or nothing is a number.
        whys: All reasons.
        funnel: One entry a filter, in their order.
    """

    why: Ints
    values: Floats
    whys: list[Why]
    funnel: list[FunnelStep]

    @property
    def keep(self) -> Bools:
        """Whether each pair is kept."""
        return self.why < 0


ReadFacts = Callable[[FilterChoice, list[str] | None], tuple[dict[str, np.ndarray], pa.Table | None]]


def decide(identities: Identities, filters: Sequence[FilterChoice], read: ReadFacts) -> Decision:
    """Apply filters in order.

    Args:
        identities: Who the pairs are.
        filters: The recipe's list; empty keeps everything.
        read: Gives a filter's facts of all pairs: the named columns (None = all), and what it linked.
    """
    why = np.full(len(identities), -1)
    values = np.full(len(identities), np.nan)
    whys, funnel = list[Why](), list[FunnelStep]()
    order = identities.best_first()
    for config in filters:
        found: Filter = FILTERS[config.name]
        columns, links = read(config, None if found.decides_on is None else list(found.decides_on))
        rows = np.flatnonzero(why < 0)
        facts = Facts({name: column[rows] for name, column in columns.items()}, _best_of(order, rows), rows, links)
        measured = found.decide(facts, config)
        first_failed = _first_failed(measured, len(rows))
        for index, one in enumerate(measured):
            dropped = rows[first_failed == index]
            why[dropped] = len(whys)
            if one.values is not None:
                values[dropped] = one.values[first_failed == index]
            whys.append(Why(config.name, one.reason, one.threshold, one.values is not None, one.context))
        funnel.append(_count(config.name, identities, rows, measured, first_failed))
    return Decision(why, values, whys, funnel)


def _best_of(order: Ints, rows: Ints) -> Ints:
    """Give the positions of some rows in the order of all."""
    position = np.full(len(order), -1, dtype=np.int64)
    position[rows] = np.arange(len(rows))
    placed = position[order]
    return placed[placed >= 0]


def _first_failed(measured: Sequence[Measured], n_rows: int) -> Ints:
    """Give the number of the first reason that each pair fails; -1 = it passes all."""
    failed = np.full(n_rows, -1, dtype=np.int64)
    for index, one in reversed(list(enumerate(measured))):
        failed[~one.keep] = index
    return failed


def _count(step: str, identities: Identities, rows: Ints, measured: Sequence[Measured], failed: Ints) -> FunnelStep:
    counts: Counter[str] = Counter()
    for index, one in enumerate(measured):  # several may share a reason: one for each text, say
        counts[one.reason] += int((failed == index).sum())
    n_sources = len(identities.sources)
    n_in = np.bincount(identities.source[rows], minlength=n_sources)
    n_dropped = np.bincount(identities.source[rows[failed >= 0]], minlength=n_sources)
    sources = {name: (int(n_in[i]), int(n_dropped[i])) for i, name in enumerate(identities.sources) if n_in[i]}
    dropped = np.flatnonzero(failed >= 0)
    dropped = dropped[np.argsort(identities.low[rows[dropped]], kind="stable")[:N_SAMPLES]]
    return FunnelStep(
        step,
        len(rows),
        int((failed >= 0).sum()),
        {reason: count for reason, count in counts.most_common() if count},
        sources,
        [_sight(rows, measured[int(failed[position])], int(position)) for position in dropped],
        _near_misses(rows, measured, failed),
    )


def _near_misses(rows: Ints, measured: Sequence[Measured], failed: Ints) -> list[Sighting]:
    """Give the kept pairs closest to a threshold, in parts of the threshold where it is not 0."""
    near = list[tuple[float, int, Sighting]]()
    for one in measured:
        if one.values is None or one.threshold is None or np.isinf(one.threshold):
            continue
        scale = abs(one.threshold) if abs(one.threshold) > _TINY else 1.0
        distance = np.abs(one.values - one.threshold) / scale
        distance[(failed >= 0) | ~(distance <= _NEAR)] = np.inf
        closest = np.argsort(distance, kind="stable")[:N_SAMPLES]
        near += [
            (float(distance[at]), int(rows[at]), _sight(rows, one, at)) for at in closest if np.isfinite(distance[at])
        ]
    return [sighting for _, _, sighting in sorted(near, key=lambda entry: entry[:2])[:N_SAMPLES]]


def _sight(rows: Ints, one: Measured, position: int) -> Sighting:
    value = None if one.values is None else float(one.values[position])
    return Sighting(int(rows[position]), one.reason, value, one.threshold)
