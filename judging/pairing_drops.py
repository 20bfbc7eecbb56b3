"""The ledger of pairing: why a prompt gave no pair and why a candidate is in none."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from generation.schema import CONTEXT_CHARS, DROPS
from judging.joined import Bools, Floats, Joined

FEWEST_SCORED = 2  # candidates that a pair needs


def build_drops(
    prompts: pa.Table, candidates: pa.Table, joined: Joined, used: Bools, margin: Floats, min_margin: float
) -> pa.Table:
    """Write a row for every prompt without a pair and for every candidate in none.

    Args:
        prompts: Table of `generation.schema.PROMPTS`.
        candidates: Table of `generation.schema.CANDIDATES`.
        joined: The candidates with their prompts and scores.
        used: Whether each of the joined candidates is in a pair.
        margin: Difference of the scores of the pair that was picked for each row of the prompts table; NaN where none.
        min_margin: What the margins were held against.
    """
    starts = np.flatnonzero(np.diff(joined.prompt, prepend=-1))
    if not starts.size:
        return DROPS.empty_table()
    unscored = np.isnan(joined.score)
    n_scored = np.add.reduceat(~unscored, starts, dtype=np.int64)
    few = n_scored < FEWEST_SCORED
    spread = np.fmax.reduceat(joined.score, starts) - np.fmin.reduceat(joined.score, starts)
    # Scores that differ enough, and yet no pair: what length control picked is no better by its own score.
    tied = spread <= min_margin
    reason = np.select([few, tied], ["too_few_scored", "tied"], "length_control")
    value = np.select([few, tied], [n_scored, spread], margin[joined.prompt[starts]])
    threshold = np.where(few, FEWEST_SCORED, min_margin)
    paired = np.logical_or.reduceat(used, starts)
    of_prompts = _drop_prompts(
        prompts.take(joined.prompt[starts[~paired]]), reason[~paired], value[~paired], threshold[~paired]
    )
    sizes = np.diff(starts, append=used.size)
    of_candidate = np.where(unscored, "unscored", np.repeat(np.where(paired, "not_best_or_worst", reason), sizes))
    # Cut before the rows are taken: `take` joins its input, and an Arrow string array ends at 2 GiB.
    contexts = candidates.select(["candidate_id"]).append_column("context", _cut(candidates["text"]))
    dropped = contexts.take(joined.row[~used])
    return pa.concat_tables([of_prompts, _drop_candidates(dropped, of_candidate[~used], joined.score[~used])])


def _drop_prompts(prompts: pa.Table, reason: np.ndarray, value: Floats, threshold: Floats) -> pa.Table:
    messages = prompts["messages"].combine_chunks()
    # Each list's last message is the question that has no pair.
    questions = messages.values.field("content").take(pc.subtract(messages.offsets[1:], 1))
    return _ledger("prompt", prompts["prompt_id"], reason, value, threshold, _cut(questions))


def _drop_candidates(candidates: pa.Table, reason: np.ndarray, score: Floats) -> pa.Table:
    thresholds = pa.nulls(len(candidates), pa.float64())
    return _ledger("candidate", candidates["candidate_id"], reason, score, thresholds, candidates["context"])


def _ledger(
    kind: str,
    ids: pa.ChunkedArray,
    reason: np.ndarray,
    value: Floats,
    threshold: Floats | pa.Array,
    context: pa.ChunkedArray | pa.Array,
) -> pa.Table:
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


def _cut(texts: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    return pc.replace_substring(pc.utf8_slice_codeunits(texts, 0, CONTEXT_CHARS), "\n", " ")
