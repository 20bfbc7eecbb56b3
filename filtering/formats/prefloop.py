"""This project's own pairs (`judging.schema.PAIRS`); all columns but messages, chosen and rejected may be missing."""

from filtering.formats.format import Format, Row
from filtering.formats.messages import make_pair, take_messages, take_text
from judging.schema import PAIRS

_OTHERS = tuple(name for name in PAIRS.names if name not in ("messages", "chosen", "rejected"))


def _read(row: Row) -> Row:
    pair = make_pair(take_messages(row, "messages"), take_text(row, "chosen"), take_text(row, "rejected"))
    return {name: row.get(name) for name in _OTHERS} | pair


def _write(pair: Row) -> Row:
    return pair


PREFLOOP = Format("prefloop", ("messages", "chosen", "rejected"), PAIRS, ".parquet", _read, _write, _OTHERS)
