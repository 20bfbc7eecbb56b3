"""TRL's conversational rows with an implicit prompt: chosen and rejected as whole conversations."""

import pyarrow as pa

from filtering.formats.format import Format, Row
from filtering.formats.messages import answer, check_distinct, split_conversations, take_messages
from generation.schema import MESSAGES

_SCHEMA = pa.schema([("chosen", MESSAGES), ("rejected", MESSAGES)])


def _read(row: Row) -> Row:
    chosen, rejected = (take_messages(row, side) for side in ("chosen", "rejected"))
    return check_distinct(split_conversations([], chosen, rejected))


def _write(pair: Row) -> Row:
    return {side: [*pair["messages"], answer(pair[side])] for side in ("chosen", "rejected")}


def _unlike(row: Row) -> str | None:
    return None if row.get("prompt") is None else "the prompt stands in prompt"


TRL_CONVERSATIONAL_IMPLICIT = Format(
    "trl_conversational_implicit", ("chosen", "rejected"), _SCHEMA, ".parquet", _read, _write, unlike=_unlike
)
