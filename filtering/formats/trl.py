"""TRL's standard preference rows: prompt, chosen and rejected as texts."""

import pyarrow as pa

from filtering.formats.format import Format, Row
from filtering.formats.messages import make_pair, only_question, take_text

_SCHEMA = pa.schema([("prompt", pa.string()), ("chosen", pa.string()), ("rejected", pa.string())])


def _read(row: Row) -> Row:
    prompt = take_text(row, "prompt")
    return make_pair([{"role": "user", "content": prompt}], take_text(row, "chosen"), take_text(row, "rejected"))


def _write(pair: Row) -> Row:
    return {"prompt": only_question(pair), "chosen": pair["chosen"], "rejected": pair["rejected"]}


TRL = Format("trl", ("prompt", "chosen", "rejected"), _SCHEMA, ".parquet", _read, _write)
