"""Picked pairs in, the table of pairs out: each with its texts, ids, scores, weight and labels."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import hashlib
from typing import Any  # columns of Arrow, NumPy and lists

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from judging.pairing.joined import Floats, Ints, Joined
from judging.pairing.modifiers import probability
from judging.pairing.pairing_config import PairingConfig
from judging.pairing.picking import Picked
from judging.pairing.win_rates import p_win
from judging.schema import PAIRS

_BLOCK = 20_000  # texts in one array; 2 GiB would take 100,000 characters each
_BESIDE_TEXT = ("token_ids", "finish_reason", "logprob_sum", "policy", "tokenizer")


def build_pairs(
    prompts: pa.Table, candidates: pa.Table, scores: pa.Table, joined: Joined, picked: Picked, config: PairingConfig
) -> pa.Table:
    """Build the table of pairs (`judging.schema.PAIRS`).

    Args:
        prompts: Table of `generation.schema.PROMPTS`.
        candidates: Table of `generation.schema.CANDIDATES`.
        scores: Table of `judging.schema.SCORES`.
        joined: The candidates with their prompts and scores.
        picked: The pairs.
        config: What they were picked by.
    """
    prompt_rows = prompts.select(["prompt_id", "messages", "split", "source"]).take(picked.prompt)
    columns: dict[str, Any] = {name: prompt_rows[name] for name in prompt_rows.column_names}
    hashes: list[pa.ChunkedArray] = []
    others = candidates.drop_columns("text")
    for side, entries in (("chosen", picked.chosen), ("rejected", picked.rejected)):
        taken = others.take(joined.row[entries])
        columns |= {f"{side}_id": taken["candidate_id"], f"{side}_score": joined.score[entries]}
        columns[side] = _take_texts(candidates["text"], joined.row[entries])
        columns |= {f"{side}_{name}": taken[name] for name in _BESIDE_TEXT}
        columns[f"{side}_aspects"] = scores["aspects"].take(pa.array(joined.scored[entries]))
        hashes.append(taken["prompt_hash"])
    columns["prompt_hash"] = pc.if_else(pc.equal(*hashes), hashes[0], None)
    margin = joined.score[picked.chosen] - joined.score[picked.rejected]
    columns["margin"] = margin
    columns["uncertainty"] = _margin_uncertainty(joined, picked)
    columns["score_std"] = _score_std(joined)[picked.prompt]
    columns["weight"] = probability(margin, config.slope) if config.rule == "all_pairs" else pa.nulls(margin.size)
    columns |= _labels(joined, picked, margin, config)
    columns["rule"] = pa.repeat(config.rule, len(prompt_rows))
    ids = (columns[name].to_pylist() for name in ("prompt_id", "chosen_id", "rejected_id"))
    columns["pair_id"] = [pair_id(*row) for row in zip(*ids, strict=True)]
    return pa.table([columns[name] for name in PAIRS.names], schema=PAIRS)


def pair_id(prompt_id: str, chosen_id: str, rejected_id: str) -> str:
    """Hash what a pair is made of: 24 hexadecimal characters (96 bits) of BLAKE2b."""
    parts = "\n".join(("pair", prompt_id, chosen_id, rejected_id))
    return hashlib.blake2b(parts.encode(), digest_size=12).hexdigest()


def _labels(joined: Joined, picked: Picked, margin: Floats, config: PairingConfig) -> dict[str, Any]:
    """Give what soft losses are trained towards; nulls unless the config asks for it."""
    if not config.soft_labels:
        return dict.fromkeys(("soft_label", "chosen_p_win", "rejected_p_win"), pa.nulls(margin.size, pa.float64()))
    return {
        "soft_label": probability(margin, config.slope),
        "chosen_p_win": p_win(joined, picked.chosen, config.slope),
        "rejected_p_win": p_win(joined, picked.rejected, config.slope),
    }


def _margin_uncertainty(joined: Joined, picked: Picked) -> pa.Array:
    chosen, rejected = joined.uncertainty[picked.chosen], joined.uncertainty[picked.rejected]
    return pa.array(np.hypot(chosen, rejected), mask=np.isnan(chosen) | np.isnan(rejected))


def _score_std(joined: Joined) -> Floats:
    """Give the standard deviation of the scores of each prompt's scored candidates, by row of the prompts table."""
    is_scored = ~np.isnan(joined.score)
    prompt, score = joined.prompt[is_scored], joined.score[is_scored]
    n_scored = np.maximum(np.bincount(prompt), 1)
    mean = np.bincount(prompt, weights=score) / n_scored
    return np.sqrt(np.bincount(prompt, weights=(score - mean[prompt]) ** 2) / n_scored)


def _take_texts(texts: pa.ChunkedArray, rows: Ints) -> pa.ChunkedArray:
    """Take texts in blocks: `take` joins its input, and an Arrow string array ends at 2 GiB."""
    joined = texts.cast(pa.large_string()).combine_chunks()
    blocks = (rows[start : start + _BLOCK] for start in range(0, rows.size, _BLOCK))
    return pa.chunked_array([joined.take(pa.array(block)).cast(pa.string()) for block in blocks], pa.string())
