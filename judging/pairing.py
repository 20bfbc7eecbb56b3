"""Scored candidates in, preference pairs out: the best and the worst answer of each prompt, as in Iterative DPO.

The order of the rows that come in changes nothing: prompts keep the order of the prompts table, candidates are taken by
sample index. Work is done on columns; a million candidates take three to four CPU-seconds, ledger included; length
control takes one more.
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

from judging.best_worst import Picked, pick_best_worst
from judging.config import PairingConfig
from judging.joined import Ints, Joined, join_candidates
from judging.length_control import fit_alpha, measure_length, penalise_length
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
        facts: `length_alpha`, the price of a character in units of the score, 0 without length control, and what
            `judging.length_control.measure_length` gives.
    """

    pairs: pa.Table
    drops: pa.Table
    facts: dict[str, float]


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
    rule = _RULES[config.rule]
    alpha = fit_alpha(joined, rule, config.min_margin) if config.length_control == "fitted" else 0.0
    picked = rule(penalise_length(joined, alpha))
    margin = np.full(len(prompts), np.nan)
    margin[picked.prompt] = joined.score[picked.chosen] - joined.score[picked.rejected]
    keep = margin[picked.prompt] > config.min_margin
    kept = Picked(picked.prompt[keep], picked.chosen[keep], picked.rejected[keep])
    pairs = _build_pairs(prompts, candidates, joined, kept, config.rule)
    used = np.zeros(len(candidates), dtype=bool)
    used[kept.chosen] = used[kept.rejected] = True
    drops = build_drops(prompts, candidates, joined, used, margin, config.min_margin)
    check_conservation(candidates, pairs, drops)
    facts = {"length_alpha": alpha} | measure_length(joined, kept)
    log.info("%d pairs from %d prompts, %d candidates", len(pairs), len(np.unique(joined.prompt)), len(candidates))
    return PairTables(pairs, drops, facts)


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


_RULES: dict[str, Callable[[Joined], Picked]] = {"best_worst": pick_best_worst}


def _build_pairs(prompts: pa.Table, candidates: pa.Table, joined: Joined, picked: Picked, rule: str) -> pa.Table:
    prompt_rows = prompts.select(["prompt_id", "messages", "split", "source"]).take(picked.prompt)
    columns: dict[str, object] = {name: prompt_rows[name] for name in prompt_rows.column_names}
    hashes: list[pa.ChunkedArray] = []
    others = candidates.drop_columns("text")
    for side, entries in (("chosen", picked.chosen), ("rejected", picked.rejected)):
        taken = others.take(joined.row[entries])
        columns |= {f"{side}_id": taken["candidate_id"], f"{side}_score": joined.score[entries]}
        columns[side] = _take_texts(candidates["text"], joined.row[entries])
        for name in ("token_ids", "finish_reason", "logprob_sum", "policy", "tokenizer"):
            columns[f"{side}_{name}"] = taken[name]
        hashes.append(taken["prompt_hash"])
    columns["prompt_hash"] = pc.if_else(pc.equal(*hashes), hashes[0], None)
    columns["margin"] = joined.score[picked.chosen] - joined.score[picked.rejected]
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
