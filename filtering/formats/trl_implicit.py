"""TRL's standard rows with an implicit prompt: chosen and rejected as texts that begin alike.

The prompt ends where TRL 1.16 ends it (`trl.data_utils.extract_prompt`): at the first character that differs, or at the
space before it; where one text begins with the whole of the other, before the shorter one's last character. Answers
that begin alike lose their beginning to the prompt: TRL trains on the same characters in all, and prefer a format with
a prompt of its own where there is a choice.

TRL cuts two texts that share nothing before the first one's last character if that text ends in a space, which is a
slip of an index; here such a row shares no prompt.
"""

import pyarrow as pa

from filtering.formats.format import BadPairError, Format, Row
from filtering.formats.hh import looks_like_hh
from filtering.formats.messages import check_distinct, make_pair, only_question, take_text

_SCHEMA = pa.schema([("chosen", pa.string()), ("rejected", pa.string())])
_EXPLICIT = ("messages", "instruction", "conversations")


def _read(row: Row) -> Row:
    chosen, rejected = check_distinct({side: take_text(row, side) for side in ("chosen", "rejected")}).values()
    at = find_end(chosen, rejected)
    if not chosen[:at].strip():
        raise BadPairError("no_shared_prompt")
    return make_pair([{"role": "user", "content": chosen[:at]}], chosen[at:], rejected[at:])


def find_end(chosen: str, rejected: str) -> int:
    """Give the number of characters of the prompt that two texts share, as TRL counts them."""
    n_both = min(len(chosen), len(rejected))
    low, high = 0, n_both  # texts share their first `low` characters and not their first `high` + 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if chosen[low:middle] == rejected[low:middle] else (low, middle - 1)
    if low == n_both:
        return max(0, n_both - 1)
    return low - 1 if low and chosen[low - 1] == " " else low


def has_prompt_in_sides(row: Row) -> bool:
    """Whether both sides begin with the text of the prompt column."""
    prompt, chosen, rejected = (row.get(name) for name in ("prompt", "chosen", "rejected"))
    if not (isinstance(prompt, str) and isinstance(chosen, str) and isinstance(rejected, str)):
        return False
    return bool(prompt.strip()) and chosen.startswith(prompt) and rejected.startswith(prompt)


def _write(pair: Row) -> Row:
    prompt = only_question(pair)
    return {"chosen": prompt + pair["chosen"], "rejected": prompt + pair["rejected"]}


def _unlike(row: Row) -> str | None:
    if explicit := [name for name in _EXPLICIT if row.get(name) is not None]:
        return f"the prompt stands in {explicit[0]}"
    if row.get("prompt") is not None and not has_prompt_in_sides(row):
        return "the prompt stands in prompt, and chosen and rejected do not begin with it"
    if looks_like_hh(row):
        return "chosen and rejected are conversations with Human: and Assistant: turns"
    try:
        _read(row)
    except BadPairError as error:
        return "chosen and rejected do not begin alike" if error.reason == "no_shared_prompt" else None
    return None


TRL_IMPLICIT = Format("trl_implicit", ("chosen", "rejected"), _SCHEMA, ".parquet", _read, _write, unlike=_unlike)
