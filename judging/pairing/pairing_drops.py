"""The ledger of pairing: why a prompt gave no pair and why a candidate is in none."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from generation.schema import CONTEXT_CHARS, DROPS
from judging.pairing.joined import Floats, Joined
from judging.pairing.pairing_config import PairingConfig
from judging.pairing.pairing_reasons import Reasons, find_reasons
from judging.pairing.picking import Picked


def build_drops(
    prompts: pa.Table, candidates: pa.Table, joined: Joined, picked: Picked, config: PairingConfig
) -> pa.Table:
    """Write a row for every prompt without a pair and for every candidate in none.

    Args:
        prompts: Table of `generation.schema.PROMPTS`.
        candidates: Table of `generation.schema.CANDIDATES`.
        joined: The candidates with their prompts and scores.
        picked: The pairs.
        config: What they were picked by.
    """
    starts = np.flatnonzero(np.diff(joined.prompt, prepend=-1))
    if not starts.size:
        return DROPS.empty_table()
    used = np.zeros(joined.row.size, dtype=bool)
    used[picked.chosen] = used[picked.rejected] = True
    paired = np.logical_or.reduceat(used, starts)
    sizes = np.diff(starts, append=used.size)
    found = find_reasons(joined.take(np.flatnonzero(np.repeat(~paired, sizes))), picked.alpha, config)
    of_prompts = _drop_prompts(prompts.take(joined.prompt[starts[~paired]]), found, config.rule)
    reason = np.full(starts.size, "not_picked", dtype=object)
    reason[~paired] = found.reason
    of_candidate = np.where(np.isnan(joined.score), "unscored", np.repeat(reason, sizes))
    # Cut before the rows are taken: `take` joins its input, and an Arrow string array ends at 2 GiB.
    contexts = candidates.select(["candidate_id"]).append_column("context", cut_text(candidates["text"]))
    dropped = contexts.take(joined.row[~used])
    of_candidates = drop_candidates(dropped, of_candidate[~used], joined.score[~used], config.rule)
    return pa.concat_tables([of_prompts, of_candidates])


def drop_candidates(candidates: pa.Table, reason: np.ndarray, score: Floats, step: str) -> pa.Table:
    """Write a row for each of some candidates.

    Args:
        candidates: `candidate_id` and `context`, the beginning of the text.
        reason: Of each.
        score: Of each; NaN where unscored.
        step: The rule, or the form of export.
    """
    thresholds = np.full(len(candidates), np.nan)
    return _ledger(
        "candidate", candidates["candidate_id"], Reasons(reason, score, thresholds), candidates["context"], step
    )


def cut_text(texts: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Give the beginning of each text, in one line."""
    return pc.replace_substring(pc.utf8_slice_codeunits(texts, 0, CONTEXT_CHARS), "\n", " ")


def _drop_prompts(prompts: pa.Table, found: Reasons, step: str) -> pa.Table:
    messages = prompts["messages"].combine_chunks()
    # Each list's last message is the question that has no pair.
    questions = messages.values.field("content").take(pc.subtract(messages.offsets[1:], 1))
    return _ledger("prompt", prompts["prompt_id"], found, cut_text(questions), step)


def _ledger(
    kind: str, ids: pa.ChunkedArray, found: Reasons, context: pa.ChunkedArray | pa.Array, step: str
) -> pa.Table:
    columns = {
        "kind": pa.repeat(kind, len(ids)),
        "id": ids,
        "stage": pa.repeat("pairing", len(ids)),
        "step": pa.repeat(step, len(ids)),
        "reason": pa.array(found.reason, pa.string()),
        "value": pa.array(found.value, pa.float64(), from_pandas=True),  # NaN becomes null
        "threshold": pa.array(found.threshold, pa.float64(), from_pandas=True),
        "context": context,
    }
    return pa.table([columns[name] for name in DROPS.names], schema=DROPS)
