"""The reading half of filtering: parts of pairs in, facts on disk out, only those that do not stand there yet."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from filtering.catalogue import FILTERS
from filtering.config import FilterChoice
from filtering.facts import FactFolder, facts_key, filter_key
from filtering.filter import Mapper
from filtering.hashes import hash_texts
from filtering.parts import Part

IDENTITY = "pair"
_IDENTITY_VERSION = 1
_IDENTITY_READS = ("pair_id", "margin", "source")
_NEVER_NULL = ("pair_id", "messages", "chosen", "rejected")


@dataclass(frozen=True)
class Task:
    """What is to be measured of one part."""

    index: int
    part: Part
    identity: FactFolder | None
    filters: tuple[tuple[FilterChoice, FactFolder], ...]


def identity_folder(root: Path, parts: Sequence[Part]) -> FactFolder:
    """Name the facts that every run needs: who the pairs are."""
    return FactFolder(root / facts_key(IDENTITY, _IDENTITY_VERSION, {}), [part.n_rows for part in parts])


def filter_folder(root: Path, parts: Sequence[Part], config: FilterChoice) -> FactFolder:
    """Name the facts of a filter."""
    return FactFolder(root / filter_key(config.name, FILTERS[config.name], config), [part.n_rows for part in parts])


def measure_parts(
    parts: Sequence[Part],
    filters: Sequence[FilterChoice],
    root: Path,
    mapper: Mapper,
    on_rows: Callable[[int], None],
) -> None:
    """Measure what is not measured yet, and link what filters compare across parts.

    Args:
        parts: The pairs.
        filters: Whose facts are wanted.
        root: Folder of these parts' facts.
        mapper: Where the work is done.
        on_rows: Called with the number of pairs that are through.
    """
    tasks = [_task(index, part, parts, filters, root) for index, part in enumerate(parts)]
    for task in tasks:
        if not (task.identity or task.filters):
            on_rows(task.part.n_rows)
    for n_rows in mapper.map(measure_part, [task for task in tasks if task.identity or task.filters]):
        on_rows(n_rows)
    for config in filters:
        link, folder = FILTERS[config.name].link, filter_folder(root, parts, config)
        if link is not None and not folder.links.exists():
            folder.write_links(link(folder, config, mapper))


def measure_part(task: Task) -> int:
    """Read a part once and store all facts that are wanted of it; give its rows."""
    columns: set[str] = set(_IDENTITY_READS if task.identity else ())
    columns.update(*(FILTERS[config.name].reads for config, _ in task.filters))
    pairs = task.part.read(sorted(columns))
    check_texts(pairs, f"{task.part.path}, row group {task.part.row_group}: ")
    if task.identity:
        task.identity.write(task.index, measure_identity(pairs))
    for config, folder in task.filters:
        folder.write(task.index, FILTERS[config.name].measure(pairs, config))
    return task.part.n_rows


def check_texts(pairs: pa.Table, where: str = "") -> None:
    """Check that ids and texts are there, as far as their columns are; filters rely on it.

    Raises:
        ValueError: One is null; the message begins with `where` and names the row and the column.
    """
    for name in _NEVER_NULL:
        if name in pairs.column_names and pairs[name].null_count:
            row = pc.index(pc.is_null(pairs[name]), True).as_py()
            raise ValueError(f"{where}pair {row + 1} has null in place of {name}: leave it out, or give the text")
    if "messages" in pairs.column_names:
        messages = pairs["messages"].combine_chunks()
        is_null = pc.is_null(pc.struct_field(pc.list_flatten(messages), "content"))
        if (at := pc.index(is_null, True).as_py()) >= 0:
            row = pc.list_parent_indices(messages)[at].as_py()
            raise ValueError(f"{where}pair {row + 1} has a message with null in place of its content")


def measure_identity(pairs: pa.Table) -> pa.Table:
    """Hash the ids; margins and sources go with them."""
    hashes = hash_texts(pairs["pair_id"].cast(pa.binary()).to_pylist())
    return hashes.append_column("margin", pairs["margin"]).append_column("source", pairs["source"])


def _task(index: int, part: Part, parts: Sequence[Part], filters: Sequence[FilterChoice], root: Path) -> Task:
    identity = identity_folder(root, parts)
    folders = [(config, filter_folder(root, parts, config)) for config in filters]
    missing = tuple((config, folder) for config, folder in folders if not folder.has(index))
    task = Task(index, part, None if identity.has(index) else identity, missing)
    return replace(task, filters=_once(task.filters))


def _once(filters: Sequence[tuple[FilterChoice, FactFolder]]) -> tuple[tuple[FilterChoice, FactFolder], ...]:
    """Leave out filters that another one of the list measures for: a recipe may have one twice."""
    return tuple({folder.path: (config, folder) for config, folder in filters}.values())
