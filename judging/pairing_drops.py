"""The ledger of pairing: why a prompt gave no pair and why a candidate is in none."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from generation.schema import CONTEXT_CHARS, DROPS

FEWEST_SCORED = 2  # candidates that a pair needs

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]


def build_drops(
    prompts: pa.Table, candidates: pa.Table, prompt: Ints, score: Floats, used: Bools, min_margin: float
) -> pa.Table:
    """Write a row for every prompt without a pair and for every candidate in none.

    Args:
        prompts: Table of `generation.schema.PROMPTS`.
        candidates: Table of `generation.schema.CANDIDATES`, those of a prompt in one run.
        prompt: Row in `prompts` of each candidate.
        score: Score of each candidate, NaN where unscored.
        used: Whether each candidate is in a pair.
        min_margin: What the margins were held against.
    """
    starts = np.flatnonzero(np.diff(prompt, prepend=-1))
    if not starts.size:
        return DROPS.empty_table()
    n_scored = np.add.reduceat(~np.isnan(score), starts, dtype=np.int64)
    margin = np.fmax.reduceat(score, starts) - np.fmin.reduceat(score, starts)
    reason = np.where(n_scored < FEWEST_SCORED, "too_few_scored", "tied")
    paired = np.logical_or.reduceat(used, starts)
    few = reason == "too_few_scored"
    of_prompts = _drop_prompts(
        prompts.take(prompt[starts[~paired]]),
        reason[~paired],
        np.where(few, n_scored, margin)[~paired],
        np.where(few, float(FEWEST_SCORED), min_margin)[~paired],
    )
    of_group = np.repeat(np.where(paired, "not_best_or_worst", reason), np.diff(starts, append=prompt.size))
    of_candidates = _drop_candidates(
        candidates.filter(pa.array(~used)), np.where(np.isnan(score), "unscored", of_group)[~used], score[~used]
    )
    return pa.concat_tables([of_prompts, of_candidates])


def _drop_prompts(prompts: pa.Table, reason: np.ndarray, value: Floats, threshold: Floats) -> pa.Table:
    messages = prompts["messages"].combine_chunks()
    # Each list's last message is the question that has no pair.
    questions = messages.values.field("content").take(pc.subtract(messages.offsets[1:], 1))
    return _ledger("prompt", prompts["prompt_id"], reason, value, threshold, questions)


def _drop_candidates(candidates: pa.Table, reason: np.ndarray, score: Floats) -> pa.Table:
    thresholds = pa.nulls(len(candidates), pa.float64())
    return _ledger("candidate", candidates["candidate_id"], reason, score, thresholds, candidates["text"])


def _ledger(
    kind: str,
    ids: pa.ChunkedArray,
    reason: np.ndarray,
    value: Floats,
    threshold: Floats | pa.Array,
    texts: pa.ChunkedArray | pa.Array,
) -> pa.Table:
    # A run of line breaks would cost a preview its characters; twice as many leave enough after they shrink.
    starts = pc.utf8_slice_codeunits(texts, 0, 2 * CONTEXT_CHARS)
    context = pc.utf8_slice_codeunits(pc.replace_substring_regex(starts, r"\s+", " "), 0, CONTEXT_CHARS)
    columns = {
        "kind": pa.repeat(kind, len(ids)),
        "id": ids,
        "stage": pa.repeat("pairing", len(ids)),
        "step": pa.repeat("best_worst", len(ids)),
        "reason": pa.array(reason, pa.string()),
        "value": pa.array(value, pa.float64(), from_pandas=True),  # NaN becomes null
        "threshold": pa.array(threshold, pa.float64()),
        "context": context,
    }
    return pa.table([columns[name] for name in DROPS.names], schema=DROPS)
