"""Scored candidates in, preference pairs out, and a ledger row for everything that is in no pair.

The rule and what pairs must be are the config's (`judging.pairing.pairing_config`); nothing is judged again, so that
the same scores can be paired in many ways. The order of the rows that come in changes nothing: prompts keep the order
of the prompts table, candidates are taken by sample index, and what is drawn at random hangs on ids. Work is done on
columns; a million candidates take some four CPU-seconds, ledger included.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import logging
from collections.abc import Set
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from judging.pairing.joined import FEWEST_SCORED, Joined, join_candidates
from judging.pairing.length_control import measure_length
from judging.pairing.pair_rows import build_pairs
from judging.pairing.pairing_config import PairingConfig
from judging.pairing.pairing_drops import build_drops
from judging.pairing.picking import pick_pairs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairTables:
    """What pairing gives.

    Attributes:
        pairs: Table of `judging.schema.PAIRS`, prompt by prompt.
        drops: Table of `generation.schema.DROPS`: every prompt without a pair and every candidate that is in none.
        facts: `length_alpha`, the price of a character in units of the score, 0 without length control, and what
            `judging.pairing.length_control.measure_length` gives.
    """

    pairs: pa.Table
    drops: pa.Table
    facts: dict[str, float]


def pair_candidates(
    prompts: pa.Table,
    candidates: pa.Table,
    scores: pa.Table,
    config: PairingConfig,
    on_policy: Set[str] | None = None,
) -> PairTables:
    """Pair the scored candidates of each prompt.

    Args:
        prompts: Table of `generation.schema.PROMPTS`; those without candidates are not looked at.
        candidates: Table of `generation.schema.CANDIDATES`.
        scores: Table of `judging.schema.SCORES` of one judge, one row a candidate, in any order.
        config: The rule, and what a pair must be.
        on_policy: What the policy that is trained is called in the candidates' `policy`; None = nobody has said, and
            `require_on_policy` can't be asked for.

    Raises:
        ValueError: If a candidate has no prompt or not exactly one score row, an id stands twice, a score is infinite,
            or `require_on_policy` is asked for and no candidate is of such a policy.
        RuntimeError: If prompts or candidates were lost on the way.
    """
    joined = join_candidates(prompts, candidates, scores, on_policy or frozenset(), config.seed)
    check_on_policy(candidates, joined, config, on_policy)
    picked = pick_pairs(joined, config)
    pairs = build_pairs(prompts, candidates, scores, joined, picked, config)
    drops = build_drops(prompts, candidates, joined, picked, config)
    check_conservation(candidates, pairs, drops)
    facts = {"length_alpha": picked.alpha} | measure_length(joined, picked.chosen, picked.rejected)
    log.info("%d pairs from %d prompts, %d candidates", len(pairs), len(np.unique(joined.prompt)), len(candidates))
    return PairTables(pairs, drops, facts)


def check_on_policy(candidates: pa.Table, joined: Joined, config: PairingConfig, on_policy: Set[str] | None) -> None:
    """Check that it can be told which candidates are on-policy, where that matters.

    Raises:
        ValueError: Names the policies that there are.
    """
    if not config.require_on_policy or not joined.row.size:
        return
    known = sorted(candidates["policy"].drop_null().unique().to_pylist())
    shown = ", ".join(known[:10]) or "not named"
    if not on_policy:
        raise ValueError(f"require_on_policy: say which policy is trained; those of the candidates are {shown}")
    if not joined.on_policy.any():
        raise ValueError(
            f"require_on_policy: no candidate is of {', '.join(sorted(on_policy))}; their policies are {shown}"
        )


def explain_no_pairs(drops: pa.Table) -> str:
    """Say why pairing gave not one pair, with likely causes and fixes, from the drops that it wrote."""
    rows = drops.filter(pc.equal(drops["kind"], "prompt"))
    if not len(rows):
        return "pairing made no pair: it was given no candidates"
    parts = [f"pairing made no pair from {len(rows)} prompts"]
    equal, near = (rows.filter(pc.equal(rows["reason"], reason)) for reason in ("tied", "min_margin"))
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
    for reason, advice in _ADVICE.items():
        if found := pc.sum(pc.equal(rows["reason"], reason)).as_py():
            parts.append(f"{found} {advice}")
    return "; ".join(parts)


def check_conservation(candidates: pa.Table, pairs: pa.Table, drops: pa.Table) -> None:
    """Check that no prompt and no candidate was lost or counted twice, over distinct ids.

    Raises:
        RuntimeError: Unless prompts in = with a pair + dropped, and candidates in = in a pair + dropped; or a pair
            stands twice.
    """
    if len(pairs["pair_id"].unique()) != len(pairs):
        raise RuntimeError(f"pairing doubled pairs: {len(pairs)} hold {len(pairs['pair_id'].unique())} ids")
    in_pairs = pa.chunked_array([*pairs["chosen_id"].chunks, *pairs["rejected_id"].chunks], pa.string())
    for kind, came_in, paired in (
        ("prompt", candidates["prompt_id"].unique(), pairs["prompt_id"]),
        ("candidate", candidates["candidate_id"], in_pairs),
    ):
        kept = paired.unique()
        dropped = drops.filter(pc.equal(drops["kind"], kind))["id"]
        out = pa.chunked_array([kept, *dropped.chunks], pa.string())
        same_ids = pc.all(pc.is_in(came_in, value_set=out), min_count=0).as_py()
        if not (len(came_in) == len(out) == len(out.unique()) and same_ids):
            raise RuntimeError(
                f"pairing lost or doubled {kind}s: {len(came_in)} in, {len(kept)} in pairs + {len(dropped)} dropped, "
                f"{len(out.unique())} of them distinct"
            )


_ADVICE = {
    "too_few_scored": f"have fewer than {FEWEST_SCORED} scored candidates: sample more than one candidate a prompt and "
    "look at the reasons of the unscored ones",
    "all_correct": "have correct answers only: take harder prompts, or raise judging.pairing.pass_score",
    "none_correct": "have no correct answer: take easier prompts, sample more, or lower judging.pairing.pass_score",
    "same_text": "have different scores for one text only: the judge is noisy, the answers are alike; raise the "
    "sampling temperature",
    "truncated": "have no finished answer that is better than another one: raise generation.sampling.max_new_tokens, "
    "or set judging.pairing.chosen_must_finish to false",
    "low_score": "have no better answer of judging.pairing.min_chosen_score: lower it",
    "max_margin": "have margins above judging.pairing.max_margin only: raise it",
    "length_band": "have pairs outside of judging.pairing.length_band only: raise it",
    "off_policy": "have no pair with a side of the policy that is trained: sample from it, or set "
    "judging.pairing.require_on_policy to false",
    "length_control": "have no better answer once length has its price: use a judge that looks at more than length, or "
    "set judging.pairing.length_control to none",
}


def _shared_score(drops: pa.Table) -> str:
    """Name the score that all tied candidates have in common, if there is one."""
    is_tied = pc.and_(pc.equal(drops["kind"], "candidate"), pc.equal(drops["reason"], "tied"))
    scores = drops.filter(is_tied)["value"].unique()
    return f" ({scores[0]} for all)" if len(scores) == 1 else ""
