"""Rows of a format in, rows of `judging.schema.PAIRS` and of the drop ledger out."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any  # values of foreign files

import pyarrow as pa

from filtering.formats.format import BadPairError, Format, MisfitError, Row
from filtering.formats.identities import hash_answer, hash_prompt
from filtering.formats.row_batch import BrokenRow
from generation.schema import CONTEXT_CHARS, DROPS
from judging.schema import PAIRS

ID_COLUMNS = ("pair_id", "id", "uid", "uuid")
_SOURCES = ("source", "dataset")
_SPLITS = ("train", "eval", "vault")
_SCORES = (("chosen_score", "rejected_score"), ("score_chosen", "score_rejected"))
_MAX_CHARS = 64_000_000
READ_BESIDE = (*ID_COLUMNS, *_SOURCES, *(name for names in _SCORES for name in names), "margin")


@dataclass(frozen=True)
class Origin:
    """Where rows stand.

    Attributes:
        path: Their file, for messages.
        name: What stands in the column source where the file has none.
        stem: What rows without an id are called by.
        id_column: The column with ids; None = rows have none.
        format: The format that they are read as.
    """

    path: str
    name: str
    stem: str
    id_column: str | None
    format: Format


@dataclass
class PairRows:
    """Pairs and drops made of rows.

    Attributes:
        pairs: Columns of `judging.schema.PAIRS` by name.
        drops: Rows of `generation.schema.DROPS`.
        n_chars: Characters of the pairs' texts.
    """

    pairs: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in PAIRS.names})
    drops: list[Row] = field(default_factory=list)
    n_chars: int = 0

    def __len__(self) -> int:
        return len(self.pairs["pair_id"])

    def add(self, row: Row | BrokenRow, number: int, origin: Origin) -> str:
        """Add a row as a pair or as a drop.

        Args:
            row: The row.
            number: Its number in the file, from 0.
            origin: Where it stands.

        Returns:
            Its id.

        Raises:
            ValueError: A field has a type that the format does not have there.
        """
        id = _find_id(row, number, origin)
        if isinstance(row, BrokenRow):
            self._drop(id, "bad_encoding", row.text)
            return id
        try:
            pair = _complete(origin.format.read(row), row, id, origin)
        except BadPairError as error:
            self._drop(id, error.reason, _context(row, origin.format))
        except MisfitError as error:
            raise ValueError(
                f"{origin.path}, row {number + 1}: {error}, as {origin.format.name} has it: correct the row, or name "
                "another --format"
            ) from error
        else:
            for name, column in self.pairs.items():
                column.append(pair.get(name))
            self.n_chars += sum(len(message["content"]) for message in pair["messages"])
            self.n_chars += len(pair["chosen"]) + len(pair["rejected"])
        return id

    def is_full(self, max_rows: int) -> bool:
        """Whether it holds so many pairs or drops, or 64 million characters: an Arrow string array ends at 2 GiB."""
        return max(len(self), len(self.drops)) >= max_rows or self.n_chars >= _MAX_CHARS

    def pairs_table(self, where: str) -> pa.Table:
        """Give the pairs.

        Raises:
            ValueError: A column has values of another type.
        """
        arrays = []
        for one in PAIRS:
            try:
                arrays.append(pa.array(self.pairs[one.name], one.type))
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                raise ValueError(f"{where}: column {one.name} can't be read as {one.type}: {error}") from error
        return pa.table(arrays, schema=PAIRS)

    def drops_table(self) -> pa.Table:
        """Give the ledger."""
        return pa.Table.from_pylist(self.drops, schema=DROPS)

    def reasons(self) -> Counter[str]:
        """Count the drops by reason."""
        return Counter(drop["reason"] for drop in self.drops)

    def _drop(self, id: str, reason: str, context: str | None) -> None:
        said = None if context is None else context[:CONTEXT_CHARS].replace("\n", " ")
        drop = {"kind": "pair", "id": id, "stage": "filtering", "step": "import", "reason": reason, "context": said}
        self.drops.append(drop)


def find_id_column(columns: Iterable[str]) -> str | None:
    """Find the column with the rows' ids; None = there is none."""
    present = set(columns)
    return next((name for name in ID_COLUMNS if name in present), None)


def _find_id(row: Row | BrokenRow, number: int, origin: Origin) -> str:
    """Give a row's own id, or its place in the file."""
    given = None if origin.id_column is None or isinstance(row, BrokenRow) else row.get(origin.id_column)
    return f"{origin.stem}:{number}" if given is None or given == "" else str(given)


def _complete(pair: Row, row: Row, id: str, origin: Origin) -> Row:
    """Fill in ids, source, split, scores and margin where the format has none."""
    prompt_id = pair.get("prompt_id") or hash_prompt(pair["messages"])
    chosen, rejected = _scores(row)
    margin = _number(row, "margin")
    if chosen is not None and rejected is not None and margin is None:
        margin = chosen - rejected
    given = next((row[name] for name in _SOURCES if row.get(name)), origin.name)
    source = pair.get("source", given)
    return pair | {
        "pair_id": id,
        "prompt_id": prompt_id,
        "chosen_id": pair.get("chosen_id") or hash_answer(prompt_id, pair["chosen"]),
        "rejected_id": pair.get("rejected_id") or hash_answer(prompt_id, pair["rejected"]),
        "source": source if source is None or isinstance(source, str) else json.dumps(source, default=str),
        "split": _split(pair),
        "weight": _weight(pair),
        "chosen_score": chosen,
        "rejected_score": rejected,
        "margin": margin,
    }


def _split(pair: Row) -> str:
    split = pair.get("split") or "train"
    if split not in _SPLITS:
        raise MisfitError("split", split, f"one of {', '.join(_SPLITS)}")
    return split


def _weight(pair: Row) -> float | None:
    weight = pair.get("weight")
    if weight is None or weight == "":
        return None
    if not isinstance(weight, int | float) or not 0 < weight <= 1:
        raise MisfitError("weight", weight, "a number above 0 and up to 1, or null for 1")
    return float(weight)


def _scores(row: Row) -> tuple[float | None, float | None]:
    for chosen, rejected in _SCORES:
        if row.get(chosen) is not None or row.get(rejected) is not None:
            return _number(row, chosen), _number(row, rejected)
    return None, None


def _number(row: Row, name: str) -> float | None:
    """Read a number; null, "" (in CSV) and NaN mean that there is none."""
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:  # the last one: an integer of more than 308 digits
        raise MisfitError(name, value, "a number of 64 bits") from error
    return number if math.isfinite(number) else None


def _context(row: Row, one: Format) -> str | None:
    """Give the first text of a row that there is something of."""
    values = (row.get(name) for name in one.columns)
    value = next((value for value in values if value), None)
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
