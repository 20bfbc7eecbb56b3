"""Pairs and a list of filters in; kept pairs, a ledger row for every dropped one and the counts of each step out."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filtering.catalogue import FILTERS
from filtering.config import FilterChoice
from filtering.deciding import Decision, FunnelStep, Identities, Why, decide
from filtering.facts import FactTable
from filtering.filter import Mapper
from filtering.measured import Context
from filtering.measuring import check_texts, filter_folder, identity_folder, measure_identity, measure_parts
from filtering.parts import Part
from filtering.texts import prompt_texts
from filtering.workers import IN_PROCESS
from generation.schema import CONTEXT_CHARS, DROPS
from judging.schema import PAIRS

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Split:
    """What became of some of the pairs: all of them, those kept, the ledger of the others."""

    pairs: pa.Table
    kept: pa.Table
    drops: pa.Table


def filter_pairs(pairs: pa.Table, filters: Sequence[FilterChoice]) -> FilterTables:
    """Apply filters in order to pairs in memory.

    Args:
        pairs: Table of `judging.schema.PAIRS`.
        filters: The recipe's list; empty keeps everything.

    Raises:
        ValueError: If a pair_id stands twice, or an id or a text is null.
        RuntimeError: If pairs were lost on the way.
    """
    decision = _decide_in_memory(pairs, filters)
    split = split_pairs(pairs, decision, 0)
    _log(decision)
    return FilterTables(split.kept, split.drops, decision.funnel)


def filter_parts(
    parts: Sequence[Part],
    filters: Sequence[FilterChoice],
    facts: Path,
    mapper: Mapper = IN_PROCESS,
    on_rows: Callable[[int], None] = lambda _: None,
) -> Decision:
    """Apply filters in order to pairs on disk, a part at a time.

    Args:
        parts: The pairs, with the columns of `judging.schema.PAIRS`.
        filters: The recipe's list; empty keeps everything.
        facts: Folder of what was measured of these very parts; what stands there is not measured again.
        mapper: Where the measuring is done.
        on_rows: Called with the number of pairs that are measured.

    Returns:
        What becomes of each pair; `split_parts` carries it out.

    Raises:
        ValueError: If a pair_id stands twice, or an id or a text is null.
    """
    if not parts:
        return _decide_in_memory(PAIRS.empty_table(), filters)
    measure_parts(parts, filters, facts, mapper, on_rows)
    identity = identity_folder(facts, parts)
    columns = ["low", "high", "margin", "source"]
    identities = Identities.read([identity.read(index, columns) for index in range(len(parts))])
    _check_ids(identities, lambda row: _id_at(parts, row))

    def read(config: FilterChoice, columns: list[str] | None) -> tuple[dict[str, np.ndarray], pa.Table | None]:
        folder = filter_folder(facts, parts, config)
        tables = [folder.read(index, columns) for index in range(len(parts))]
        return _arrays(tables), folder.read_links()

    decision = decide(identities, filters, read)
    _log(decision)
    return decision


def split_parts(parts: Sequence[Part], decision: Decision) -> Iterator[Split]:
    """Give what is kept and what is dropped of each part.

    Raises:
        RuntimeError: If pairs were lost on the way.
    """
    start = 0
    for part in parts:
        yield split_pairs(part.read(), decision, start)
        start += part.n_rows
    if start != len(decision.why):
        raise RuntimeError(f"filtering decided on {len(decision.why)} pairs, but {start} are there")


def split_pairs(pairs: pa.Table, decision: Decision, start: int) -> Split:
    """Carry out a decision on the pairs from row `start` on.

    Raises:
        RuntimeError: If pairs were lost on the way.
    """
    why, values = (column[start : start + pairs.num_rows] for column in (decision.why, decision.values))
    drops = [DROPS.empty_table()]
    for index, reason in enumerate(decision.whys):
        if (is_dropped := why == index).any():
            drops.append(_write_drops(pairs.filter(pa.array(is_dropped)), reason, values[is_dropped]))
    split = Split(pairs, pairs.filter(pa.array(why < 0)), pa.concat_tables(drops))
    check_conservation(split)
    return split


def check_conservation(split: Split) -> None:
    """Check that every pair was either kept or dropped, over distinct ids.

    Raises:
        RuntimeError: Unless pairs in = kept + dropped.
    """
    pairs, out = split.pairs, pa.chunked_array([*split.kept["pair_id"].chunks, *split.drops["id"].chunks], pa.string())
    same_ids = pc.all(pc.is_in(pairs["pair_id"], value_set=out), min_count=0).as_py()
    if not (len(pairs) == len(out) == len(out.unique()) and same_ids):
        raise RuntimeError(
            f"filtering lost or doubled pairs: {len(pairs)} in, {len(split.kept)} kept + {len(split.drops)} dropped, "
            f"{len(out.unique())} of them distinct"
        )


def _decide_in_memory(pairs: pa.Table, filters: Sequence[FilterChoice]) -> Decision:
    def read(config: FilterChoice, columns: list[str] | None) -> tuple[dict[str, np.ndarray], pa.Table | None]:
        found = FILTERS[config.name]
        facts = found.measure(pairs, config)
        links = None if found.link is None else found.link(FactTable(facts), config, IN_PROCESS)
        return _arrays([facts.select(columns or facts.column_names)]), links

    check_texts(pairs)
    identities = Identities.read([measure_identity(pairs)])
    _check_ids(identities, lambda row: pairs["pair_id"][row].as_py())
    return decide(identities, filters, read)


def _write_drops(dropped: pa.Table, why: Why, values: np.ndarray) -> pa.Table:
    n = dropped.num_rows
    columns = {
        "kind": pa.repeat("pair", n),
        "id": dropped["pair_id"],
        "stage": pa.repeat("filtering", n),
        "step": pa.repeat(why.step, n),
        "reason": pa.repeat(why.reason, n),
        "value": pa.array(values) if why.has_values else pa.nulls(n, pa.float64()),
        "threshold": pa.array([why.threshold] * n, pa.float64()),
        "context": _quote(dropped, why.context),
    }
    return pa.table([columns[name] for name in DROPS.names], schema=DROPS)


def _quote(dropped: pa.Table, context: Context) -> pa.Array | pa.ChunkedArray:
    if context == "none":
        return pa.repeat("", dropped.num_rows)
    texts = prompt_texts(dropped["messages"]) if context == "prompt" else dropped[context]
    return pc.replace_substring(pc.utf8_slice_codeunits(texts, 0, CONTEXT_CHARS), "\n", " ").cast(pa.string())


def _arrays(tables: Sequence[pa.Table]) -> dict[str, np.ndarray]:
    whole = pa.concat_tables(tables)
    return {name: whole[name].to_numpy() for name in whole.column_names}


def _check_ids(identities: Identities, id_at: Callable[[int], str]) -> None:
    if (doubled := identities.doubled()).size:
        first, second = doubled.tolist()
        raise ValueError(
            f"pairs {first + 1} and {second + 1} have the same pair_id {id_at(second)!r}: each id may stand once"
        )


def _id_at(parts: Sequence[Part], row: int) -> str:
    for part in parts:
        if row < part.n_rows:
            return part.read(["pair_id"])["pair_id"][row].as_py()
        row -= part.n_rows
    raise IndexError(row)


def _log(decision: Decision) -> None:
    counts = {step.step: step.n_dropped for step in decision.funnel}
    log.info("kept %d of %d pairs, dropped %s", int(decision.keep.sum()), len(decision.why), counts)
