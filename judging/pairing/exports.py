"""Pairs in, rows out in the forms that trainers elsewhere read: TRL's conversational columns, lists of messages.

| form | columns | for |
|---|---|---|
| preference | prompt, chosen, rejected | TRL's DPO, CPO, SimPO and ORPO trainers |
| kto | prompt, completion, label | KTO: a row an answer, label true where it is desirable |
| sft | prompt, completion | the best answer of each prompt |
| reward_model | chosen, rejected, margin | TRL's reward trainer, which takes the margin off the difference of rewards |
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from generation.schema import DROPS, MESSAGES
from judging.pairing.joined import Ints
from judging.pairing.pairing_drops import cut_text, drop_candidates

Form = Literal["preference", "kto", "sft", "reward_model"]
_BLOCK = 20_000  # rows at once: an Arrow string array ends at 2 GiB


@dataclass(frozen=True)
class Exported:
    """What an export gives.

    Attributes:
        rows: One table in the columns of the form.
        drops: Table of `generation.schema.DROPS`: the candidates that are in pairs and in none of the rows.
    """

    rows: pa.Table
    drops: pa.Table


def export_pairs(pairs: pa.Table, form: Form) -> Exported:
    """Give pairs (`judging.schema.PAIRS`) the columns of a form."""
    return _FORMS[form](pairs)


def _as_preference(pairs: pa.Table) -> Exported:
    columns = {
        "prompt": pairs["messages"],
        "chosen": _answers(pairs["chosen"]),
        "rejected": _answers(pairs["rejected"]),
    }
    return Exported(pa.table(columns), DROPS.empty_table())


def _as_reward_model(pairs: pa.Table) -> Exported:
    columns = {side: _conversations(pairs["messages"], pairs[side]) for side in ("chosen", "rejected")}
    return Exported(pa.table(columns | {"margin": pairs["margin"]}), DROPS.empty_table())


def _as_kto(pairs: pa.Table) -> Exported:
    """Label each answer by whether it was chosen more often than rejected: with all_pairs, the prompt's upper half."""
    sides = _sides(pairs)
    _, first, inverse = np.unique(sides["id"].to_numpy(zero_copy_only=False), return_index=True, return_inverse=True)
    is_chosen = np.arange(sides.num_rows) < pairs.num_rows
    wins, losses = (np.bincount(inverse, weights=side, minlength=first.size) for side in (is_chosen, ~is_chosen))
    order = np.argsort(_place(first, pairs.num_rows), kind="stable")
    clear = order[wins[order] != losses[order]]
    balanced = order[wins[order] == losses[order]]
    rows = sides.take(first[clear])
    columns = {
        "prompt": rows["messages"],
        "completion": _answers(rows["text"]),
        "label": pa.array((wins > losses)[clear]),
    }
    return Exported(pa.table(columns), _drop(sides.take(first[balanced]), "chosen_as_often_as_rejected", "kto"))


def _as_sft(pairs: pa.Table) -> Exported:
    """Keep of each prompt the chosen answer with the highest score, among equals the shortest."""
    length = pc.utf8_length(pairs["chosen"]).to_numpy()
    prompt = pairs["prompt_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.lexsort((np.arange(length.size), length, -pairs["chosen_score"].to_numpy(), prompt))
    best = pairs.take(order[np.flatnonzero(np.diff(prompt[order], prepend=-1))])
    sides = _sides(pairs)
    other = pc.invert(pc.is_in(sides["id"], value_set=best["chosen_id"]))
    ids = sides["id"].to_numpy(zero_copy_only=False)
    distinct = np.zeros(ids.size, dtype=bool)
    distinct[np.unique(ids, return_index=True)[1]] = True
    left_out = sides.filter(pc.and_(other, pa.array(distinct)))
    rows = pa.table({"prompt": best["messages"], "completion": _answers(best["chosen"])})
    return Exported(rows, _drop(left_out, "not_best", "sft"))


_FORMS: dict[Form, Callable[[pa.Table], Exported]] = {
    "preference": _as_preference,
    "kto": _as_kto,
    "sft": _as_sft,
    "reward_model": _as_reward_model,
}


def _sides(pairs: pa.Table) -> pa.Table:
    """Lay all chosen answers above all rejected ones."""
    parts = [
        pa.table(
            {
                "id": pairs[f"{side}_id"],
                "messages": pairs["messages"],
                "text": pairs[side],
                "score": pairs[f"{side}_score"],
            }
        )
        for side in ("chosen", "rejected")
    ]
    return pa.concat_tables(parts)


def _place(rows: Ints, n_pairs: int) -> Ints:
    """Give rows of `_sides` their place in the order of the pairs, the chosen answer of a pair before the rejected."""
    return 2 * (rows % n_pairs) + rows // n_pairs if n_pairs else rows


def _drop(sides: pa.Table, reason: str, step: str) -> pa.Table:
    named = pa.table({"candidate_id": sides["id"], "context": cut_text(sides["text"])})
    return drop_candidates(named, np.full(sides.num_rows, reason, dtype=object), sides["score"].to_numpy(), step)


def _answers(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Make each text a list of one message of the assistant."""
    return pa.chunked_array([_wrap(chunk, np.arange(len(chunk) + 1)) for chunk in texts.chunks], MESSAGES)


def _wrap(texts: pa.Array, offsets: Ints) -> pa.Array:
    roles = pa.repeat("assistant", len(texts))
    messages = pa.StructArray.from_arrays([roles, texts], fields=list(MESSAGES.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), messages, type=MESSAGES)


def _conversations(messages: pa.ChunkedArray, texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Add each text to its conversation as a last message of the assistant."""
    parts = [
        _append(messages.slice(start, _BLOCK), texts.slice(start, _BLOCK)) for start in range(0, len(texts), _BLOCK)
    ]
    return pa.chunked_array(parts, MESSAGES)


def _append(messages: pa.ChunkedArray, texts: pa.ChunkedArray) -> pa.Array:
    before = pa.concat_arrays(messages.chunks)
    n_before = pc.list_value_length(before).to_numpy()
    both = pa.concat_arrays(
        [before.flatten(), _wrap(pa.concat_arrays(texts.chunks), np.arange(len(texts) + 1)).flatten()]
    )
    offsets = np.concatenate([[0], np.cumsum(n_before + 1)])
    order = np.empty(offsets[-1], dtype=np.int64)
    is_last = np.zeros(order.size, dtype=bool)
    is_last[offsets[1:] - 1] = True
    order[is_last] = np.arange(order.size - len(texts), order.size)
    order[~is_last] = np.arange(order.size - len(texts))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), both.take(pa.array(order)), type=MESSAGES)
