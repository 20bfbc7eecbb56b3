"""LLaMA-Factory's ranking rows in Alpaca form: instruction, input, chosen, rejected, perhaps system and history.

The question is the instruction, and the input after a line end, where there is one: so LLaMA-Factory joins them.
"""

import pyarrow as pa

from filtering.formats.format import Format, MisfitError, Row
from filtering.formats.messages import Messages, make_pair, take_text
from filtering.formats.sharegpt import read_system, take_turns

_SCHEMA = pa.schema(
    [
        ("instruction", pa.string()),
        ("input", pa.string()),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("system", pa.string()),
        ("history", pa.list_(pa.list_(pa.string()))),  # earlier questions with their answers
    ]
)


def _read(row: Row) -> Row:
    given = row.get("input")
    parts = [take_text(row, "instruction"), take_text(row, "input") if given is not None else ""]
    question = {"role": "user", "content": "\n".join(part for part in parts if part)}
    messages = [*read_system(row), *_read_history(row), question]
    return make_pair(messages, take_text(row, "chosen"), take_text(row, "rejected"))


def _read_history(row: Row) -> Messages:
    history = row.get("history")
    if history is None or history == "":  # as CSV files write nothing
        return []
    wanted = "a list of [question, answer]"
    if not isinstance(history, list):
        raise MisfitError("history", history, wanted)
    messages: Messages = []
    for at, turn in enumerate(history):
        if not (isinstance(turn, list) and len(turn) == 2 and all(isinstance(said, str) for said in turn)):
            raise MisfitError(f"history[{at}]", turn, wanted)
        messages += [{"role": "user", "content": turn[0]}, {"role": "assistant", "content": turn[1]}]
    return messages


def _write(pair: Row) -> Row:
    system, turns = take_turns(pair)
    texts = [turn["content"] for turn in turns]
    history = [list(turn) for turn in zip(texts[:-1:2], texts[1:-1:2], strict=True)]
    sides = {side: pair[side] for side in ("chosen", "rejected")}
    return {"instruction": texts[-1], "input": "", "system": system, "history": history} | sides


ALPACA = Format(
    "alpaca",
    ("instruction", "chosen", "rejected"),
    _SCHEMA,
    ".json",
    _read,
    _write,
    ("input", "system", "history"),
)
