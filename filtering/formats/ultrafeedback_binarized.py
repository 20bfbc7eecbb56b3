"""UltraFeedback-binarized: the prompt as a text, chosen and rejected as whole conversations, and their scores.

The conversations tell the prompt; the text stands in only where they hold nothing but the answer.
"""

import pyarrow as pa

from filtering.formats.format import Format, Row
from filtering.formats.messages import answer, check_distinct, split_conversations, take_messages, take_text
from generation.schema import MESSAGES

_SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        ("prompt_id", pa.string()),
        ("chosen", MESSAGES),
        ("rejected", MESSAGES),
        ("messages", MESSAGES),  # the chosen conversation once more
        ("score_chosen", pa.float64()),
        ("score_rejected", pa.float64()),
    ]
)


def _read(row: Row) -> Row:
    prompt, chosen, rejected = take_text(row, "prompt"), take_messages(row, "chosen"), take_messages(row, "rejected")
    is_whole = any(message["role"] == "user" for message in chosen + rejected)
    before = [] if is_whole else [{"role": "user", "content": prompt}]
    return check_distinct(split_conversations(before, chosen, rejected))


def _write(pair: Row) -> Row:
    messages = pair["messages"]
    chosen, rejected = ([*messages, answer(pair[side])] for side in ("chosen", "rejected"))
    return {
        "prompt": next(message["content"] for message in messages if message["role"] == "user"),
        "prompt_id": pair["prompt_id"],
        "chosen": chosen,
        "rejected": rejected,
        "messages": chosen,
        "score_chosen": pair["chosen_score"],
        "score_rejected": pair["rejected_score"],
    }


ULTRAFEEDBACK_BINARIZED = Format(
    "ultrafeedback_binarized", ("prompt", "chosen", "rejected"), _SCHEMA, ".parquet", _read, _write
)
