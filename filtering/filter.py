"""Pairs and a list of filters in; kept pairs, a ledger row for every dropped one and the counts of each step out.

Filters run in the order of the recipe, each on what the ones before it left, so cheap ones go first. Each is a pure
function of the pairs and its config.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filtering.config import FilterConfig
from filtering.duplicates import find_duplicates
from filtering.identical import find_identical
from filtering.length import find_odd_lengths
from filtering.measured import Bools, Measured
from filtering.similarity import find_similar
from filtering.truncated import find_truncated
from generation.schema import CONTEXT_CHARS, DROPS

log = logging.getLogger(__name__)

# Each filter knows the config of its name, which is more than a type checker can follow through a dict.
_FILTERS: dict[str, Callable[[pa.Table, Any], list[Measured]]] = {
    "identical": find_identical,
    "similarity": find_similar,
    "length": find_odd_lengths,
    "truncated": find_truncated,
    "duplicates": find_duplicates,
}
# What filters read; token ids and messages are not copied from step to step.
_READ = ["pair_id", "prompt_id", "chosen", "rejected", "chosen_finish_reason", "rejected_finish_reason", "margin"]


class FunnelStep(NamedTuple):
    """One filter's counts: its name, pairs that came in and pairs that it dropped."""

    step: str
    n_in: int
    n_dropped: int


@dataclass(frozen=True)
class FilterTables:
    """What filtering gives.

    Attributes:
        kept: Pairs that passed every filter, in the order they came in.
        drops: Table of `generation.schema.DROPS`, one row a dropped pair.
        funnel: One entry a filter, in their order.
    """

    kept: pa.Table
    drops: pa.Table
    funnel: list[FunnelStep]


def filter_pairs(pairs: pa.Table, filters: Sequence[FilterConfig]) -> FilterTables:
    """Apply filters in order.

    Args:
        pairs: Table of `judging.schema.PAIRS`.
        filters: The recipe's list; empty keeps everything.

    Raises:
        ValueError: If a pair_id stands twice.
        RuntimeError: If pairs were lost on the way.
    """
    n_distinct = pc.count_distinct(pairs["pair_id"]).as_py()
    if n_distinct != len(pairs):
        raise ValueError(f"{len(pairs)} pairs have {n_distinct} ids: each pair_id may stand once")
    rest, drops, funnel = pairs.select(_READ), [DROPS.empty_table()], list[FunnelStep]()
    for config in filters:
        dropped = _find_drops(rest, config)
        funnel.append(FunnelStep(config.name, len(rest), len(dropped)))
        drops.append(dropped)
        rest = rest.filter(pc.invert(pc.is_in(rest["pair_id"], value_set=dropped["id"])))
    kept = pairs.filter(pc.is_in(pairs["pair_id"], value_set=rest["pair_id"]))
    tables = FilterTables(kept, pa.concat_tables(drops), funnel)
    check_conservation(pairs, tables)
    log.info("kept %d of %d pairs, dropped %s", len(kept), len(pairs), {step.step: step.n_dropped for step in funnel})
    return tables


def check_conservation(pairs: pa.Table, tables: FilterTables) -> None:
    """Check that every pair was either kept or dropped, over distinct ids.

    Raises:
        RuntimeError: Unless pairs in = kept + dropped.
    """
    out = pa.chunked_array([*tables.kept["pair_id"].chunks, *tables.drops["id"].chunks], pa.string())
    same_ids = pc.all(pc.is_in(pairs["pair_id"], value_set=out), min_count=0).as_py()
    if not (len(pairs) == len(out) == len(out.unique()) and same_ids):
        raise RuntimeError(
            f"filtering lost or doubled pairs: {len(pairs)} in, {len(tables.kept)} kept + {len(tables.drops)} dropped, "
            f"{len(out.unique())} of them distinct"
        )


def _find_drops(pairs: pa.Table, config: FilterConfig) -> pa.Table:
    """Give the ledger of the pairs that do not pass a filter, each with the first reason that it has."""
    passed = np.ones(len(pairs), dtype=bool)
    ledgers = [DROPS.empty_table()]
    for measured in _FILTERS[config.name](pairs, config):
        ledgers.append(_write_drops(pairs, config.name, measured, passed & ~measured.keep))
        passed &= measured.keep
    return pa.concat_tables(ledgers)


def _write_drops(pairs: pa.Table, step: str, measured: Measured, is_dropped: Bools) -> pa.Table:
    dropped = pairs.select(["pair_id", "chosen"]).filter(pa.array(is_dropped))
    columns = {
        "kind": pa.repeat("pair", len(dropped)),
        "id": dropped["pair_id"],
        "stage": pa.repeat("filtering", len(dropped)),
        "step": pa.repeat(step, len(dropped)),
        "reason": pa.repeat(measured.reason, len(dropped)),
        "value": pa.nulls(len(dropped)) if measured.values is None else measured.values[is_dropped],
        "threshold": pa.array([measured.threshold] * len(dropped), pa.float64()),
        "context": pc.replace_substring(pc.utf8_slice_codeunits(dropped["chosen"], 0, CONTEXT_CHARS), "\n", " "),
    }
    return pa.table([columns[name] for name in DROPS.names], schema=DROPS)
