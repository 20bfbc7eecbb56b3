"""Scored candidates in, preference pairs out: the best and the worst answer of each prompt, as in Iterative DPO.

Ties follow WPO (arXiv 2406.11827, second version of its data): among the highest scores the shortest answer is chosen,
among the lowest the one closest in length to the chosen answer is rejected, so that a coarse judge does not teach
length. WPO's weights and its mix of on- and off-policy answers are left out.

The order of the rows that come in changes nothing: prompts keep the order of the prompts table, candidates are taken by
sample index. Work is done on columns; a million candidates take three to four CPU-seconds, ledger included.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from judging.config import PairingConfig
from judging.joined import Bools, Floats, Ints, Joined, join_candidates
from judging.pairing_drops import FEWEST_SCORED, build_drops
from judging.schema import PAIRS

log = logging.getLogger(__name__)

_BLOCK = 20_000  # texts in one array; 2 GiB would take 100,000 characters each


@dataclass(frozen=True)
class PairTables:
    """What pairing gives.

    Attributes:
        pairs: Table of `judging.schema.PAIRS`, at most one pair a prompt.
        drops: Table of `generation.schema.DROPS`: every prompt without a pair and every candidate that is in none.
    """

    pairs: pa.Table
    drops: pa.Table


@dataclass(frozen=True)
class _Best:
    """The best and worst scored candidate of each prompt with at least two, in the prompts' order.

    Attributes:
        prompt: Row in the prompts table.
        chosen: Entry in the joined candidates.
        rejected: Likewise.
        margin: Difference of their scores; 0 where all are tied.
    """

    prompt: Ints
    chosen: Ints
    rejected: Ints
    margin: Floats


def pair_best_worst(prompts: pa.Table, candidates: pa.Table, scores: pa.Table, config: PairingConfig) -> PairTables:
    """Pair the best with the worst scored candidate of each prompt.

    Args:
        prompts: Table of `generation.schema.PROMPTS`; those without candidates are not looked at.
        candidates: Table of `generation.schema.CANDIDATES`.
        scores: Table of `judging.schema.SCORES` of one judge, one row a candidate, in any order.
        config: The rule, and the margin that a pair needs.

    Raises:
        ValueError: If a candidate has no prompt or not exactly one score row, or an id stands twice.
        RuntimeError: If prompts or candidates were lost on the way.
    """
    joined = join_candidates(prompts, candidates, scores)
    best = _RULES[config.rule](joined)
    keep = best.margin > config.min_margin
    pairs = _build_pairs(prompts, candidates, joined, best, keep, config.rule)
    used = np.zeros(len(candidates), dtype=bool)
    used[best.chosen[keep]] = used[best.rejected[keep]] = True
    drops = build_drops(prompts, candidates, joined, used, config.min_margin)
    check_conservation(candidates, pairs, drops)
    log.info("%d pairs from %d prompts, %d candidates", len(pairs), len(np.unique(joined.prompt)), len(candidates))
    return PairTables(pairs, drops)


def explain_no_pairs(drops: pa.Table) -> str:
    """Say why pairing gave not one pair, with likely causes and fixes, from the drops that it wrote."""
    rows = drops.filter(pc.equal(drops["kind"], "prompt"))
    if not len(rows):
        return "pairing made no pair: it was given no candidates"
    is_tie = pc.equal(rows["reason"], "tied")
    tied, few = rows.filter(is_tie), rows.filter(pc.invert(is_tie))
    equal = tied.filter(pc.equal(tied["value"], 0.0))
    near = tied.filter(pc.greater(tied["value"], 0.0))
    parts = [f"pairing made no pair from {len(rows)} prompts"]
    if len(equal):
        parts.append(
            f"{len(equal)} are tied: every candidate of a prompt got the same score{_shared_score(drops)}; either the "
            "answers are alike (raise the sampling temperature or the number of candidates), or the judge cannot tell "
            "them apart (use one with finer scores; a verifier that gives all of them the same number often looks for "
            "a column or a format that the answers do not have)"
        )
    if len(near):
        parts.append(
            f"{len(near)} have a margin of at most judging.pairing.min_margin {near['threshold'][0]}, the largest "
            f"margin is {pc.max(near['value'])}: lower judging.pairing.min_margin"
        )
    if len(few):
        parts.append(
            f"{len(few)} have fewer than {FEWEST_SCORED} scored candidates: sample more than one candidate a prompt "
            "and look at the reasons of the unscored ones"
        )
    return "; ".join(parts)


def check_conservation(candidates: pa.Table, pairs: pa.Table, drops: pa.Table) -> None:
    """Check that no prompt and no candidate was lost or counted twice, over distinct ids.

    Raises:
        RuntimeError: Unless prompts in = with a pair + dropped, and candidates in = in a pair + dropped.
    """
    in_pairs = pa.chunked_array([*pairs["chosen_id"].chunks, *pairs["rejected_id"].chunks], pa.string())
    for kind, came_in, kept in (
        ("prompt", candidates["prompt_id"].unique(), pairs["prompt_id"]),
        ("candidate", candidates["candidate_id"], in_pairs),
    ):
        dropped = drops.filter(pc.equal(drops["kind"], kind))["id"]
        out = pa.chunked_array([*kept.chunks, *dropped.chunks], pa.string())
        same_ids = pc.all(pc.is_in(came_in, value_set=out), min_count=0).as_py()
        if not (len(came_in) == len(out) == len(out.unique()) and same_ids):
            raise RuntimeError(
                f"pairing lost or doubled {kind}s: {len(came_in)} in, {len(kept)} in pairs + {len(dropped)} dropped, "
                f"{len(out.unique())} of them distinct"
            )


def _find_best_worst(joined: Joined) -> _Best:
    is_scored = ~np.isnan(joined.score)
    n_scored = np.bincount(joined.prompt, weights=is_scored, minlength=1)
    rows = np.flatnonzero(is_scored & (n_scored[joined.prompt] >= FEWEST_SCORED))
    if not rows.size:
        none = np.empty(0, dtype=np.int64)
        return _Best(none, none, none, np.empty(0))
    prompt, score, length = joined.prompt[rows], joined.score[rows], joined.length[rows].astype(np.float64)
    index = np.arange(rows.size, dtype=np.float64)
    starts = np.flatnonzero(np.diff(prompt, prepend=-1))
    chosen = _pick(starts, [-score, length, index])
    sizes = np.diff(starts, append=rows.size)
    gap = np.abs(length - np.repeat(length[chosen], sizes))
    rejected = _pick(starts, [score, gap, -index])
    return _Best(prompt[starts], rows[chosen], rows[rejected], score[chosen] - score[rejected])


def _pick(starts: Ints, keys: list[Floats]) -> Ints:
    """Give the row of each group whose keys are the smallest, the first key first; the last one must have no ties."""
    sizes = np.diff(starts, append=keys[0].size)
    alive = np.ones(keys[0].size, dtype=bool)
    for key in keys:
        smallest = np.minimum.reduceat(np.where(alive, key, np.inf), starts)
        alive &= key == np.repeat(smallest, sizes)
    return np.flatnonzero(alive)


_RULES: dict[str, Callable[[Joined], _Best]] = {"best_worst": _find_best_worst}


def _build_pairs(
    prompts: pa.Table, candidates: pa.Table, joined: Joined, best: _Best, keep: Bools, rule: str
) -> pa.Table:
    prompt_rows = prompts.select(["prompt_id", "messages", "split", "source"]).take(best.prompt[keep])
    columns: dict[str, object] = {name: prompt_rows[name] for name in prompt_rows.column_names}
    hashes: list[pa.ChunkedArray] = []
    others = candidates.drop_columns("text")
    for side, entries in (("chosen", best.chosen[keep]), ("rejected", best.rejected[keep])):
        taken = others.take(joined.row[entries])
        columns |= {f"{side}_id": taken["candidate_id"], f"{side}_score": joined.score[entries]}
        columns[side] = _take_texts(candidates["text"], joined.row[entries])
        for name in ("token_ids", "finish_reason", "logprob_sum", "policy", "tokenizer"):
            columns[f"{side}_{name}"] = taken[name]
        hashes.append(taken["prompt_hash"])
    columns["prompt_hash"] = pc.if_else(pc.equal(*hashes), hashes[0], None)
    columns["margin"] = best.margin[keep]
    columns["rule"] = pa.repeat(rule, len(prompt_rows))
    ids = pa.table({name: columns[name] for name in ("prompt_id", "chosen_id", "rejected_id")})
    columns["pair_id"] = [pair_id(**row) for row in ids.to_pylist()]
    return pa.table([columns[name] for name in PAIRS.names], schema=PAIRS)


def _take_texts(texts: pa.ChunkedArray, rows: Ints) -> pa.ChunkedArray:
    """Take texts in blocks: `take` joins its input, and an Arrow string array ends at 2 GiB."""
    joined = texts.cast(pa.large_string()).combine_chunks()
    blocks = (rows[start : start + _BLOCK] for start in range(0, rows.size, _BLOCK))
    return pa.chunked_array([joined.take(pa.array(block)).cast(pa.string()) for block in blocks], pa.string())


def pair_id(prompt_id: str, chosen_id: str, rejected_id: str) -> str:
    """Hash what a pair is made of: 24 hexadecimal characters (96 bits) of BLAKE2b."""
    parts = "\n".join(("pair", prompt_id, chosen_id, rejected_id))
    return hashlib.blake2b(parts.encode(), digest_size=12).hexdigest()


def _shared_score(drops: pa.Table) -> str:
    """Name the score that all tied candidates have in common, if there is one."""
    is_tied = pc.and_(pc.equal(drops["kind"], "candidate"), pc.equal(drops["reason"], "tied"))
    scores = drops.filter(is_tied)["value"].unique()
    return f" ({scores[0]} for all)" if len(scores) == 1 else ""
