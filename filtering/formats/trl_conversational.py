"""TRL's conversational rows: prompt, chosen and rejected as lists of messages."""

import pyarrow as pa

from filtering.formats.format import Format, Row
from filtering.formats.messages import answer, split_conversations, take_messages
from generation.schema import MESSAGES

_SCHEMA = pa.schema([("prompt", MESSAGES), ("chosen", MESSAGES), ("rejected", MESSAGES)])


def _read(row: Row) -> Row:
    return split_conversations(*(take_messages(row, name) for name in ("prompt", "chosen", "rejected")))


def _write(pair: Row) -> Row:
    return {"prompt": pair["messages"], "chosen": [answer(pair["chosen"])], "rejected": [answer(pair["rejected"])]}


TRL_CONVERSATIONAL = Format("trl_conversational", ("prompt", "chosen", "rejected"), _SCHEMA, ".parquet", _read, _write)
