"""Scored candidates in, the pairs that a rule picks out, as entries of the joined candidates.

A rule offers couples in an order; those that meet every condition are taken in that order, one or several a prompt.
Prompts are worked on in blocks, so that a rule that couples every answer with every other one needs no more memory
than one of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from judging.pairing.couples import Offer, Pool, pick_first
from judging.pairing.joined import FEWEST_SCORED, Ints, Joined
from judging.pairing.length_control import fit_alpha
from judging.pairing.modifiers import admit, may_be_chosen
from judging.pairing.pairing_config import PairingConfig, RuleName
from judging.pairing.rules.all_pairs import offer_all_pairs
from judging.pairing.rules.best_random import offer_best_random
from judging.pairing.rules.best_second import offer_best_second
from judging.pairing.rules.best_worst import offer_best_worst
from judging.pairing.rules.correct_incorrect import offer_correct_incorrect
from judging.pairing.rules.mu_minus_2sigma import offer_mu_minus_2sigma
from judging.pairing.rules.top_p import offer_top_p

_COUPLES_PER_BLOCK = 4_000_000  # some 200 MB of columns

RULES: dict[RuleName, Callable[[Pool, PairingConfig], Offer]] = {
    "best_worst": offer_best_worst,
    "mu_minus_2sigma": offer_mu_minus_2sigma,
    "best_random": offer_best_random,
    "best_second": offer_best_second,
    "correct_incorrect": offer_correct_incorrect,
    "top_p": offer_top_p,
    "all_pairs": offer_all_pairs,
}
_MOST_PAIRS: dict[RuleName, int | None] = {"correct_incorrect": 10, "all_pairs": None}  # of the others 1


@dataclass(frozen=True)
class Picked:
    """The pairs that a rule picks, in the prompts' order; of one prompt in the rule's.

    Attributes:
        prompt: Row in the prompts table.
        chosen: Entry in the joined candidates.
        rejected: Likewise.
        alpha: The price of a character that was taken off the scores; 0 without length control.
    """

    prompt: Ints
    chosen: Ints
    rejected: Ints
    alpha: float


def pick_pairs(joined: Joined, config: PairingConfig) -> Picked:
    """Pick the pairs of each prompt with enough scored candidates."""
    entries = pairable_entries(joined)
    blocks = pool_blocks(joined, entries, config)

    def pick(alpha: float) -> Picked:
        chosen, rejected = _pick_in_blocks(blocks, alpha, config)
        return Picked(joined.prompt[entries[chosen]], entries[chosen], entries[rejected], alpha)

    if config.length_control == "none":
        return pick(0.0)

    def mean_length_gap(alpha: float) -> float | None:
        picked = pick(alpha)
        gaps = joined.length[picked.chosen] - joined.length[picked.rejected]
        return float(np.mean(gaps)) if gaps.size else None

    return pick(fit_alpha(joined.take(entries), mean_length_gap))


def pairable_entries(joined: Joined) -> Ints:
    """Give the scored entries of prompts that have enough of them."""
    is_scored = ~np.isnan(joined.score)
    n_scored = np.bincount(joined.prompt, weights=is_scored, minlength=1)
    return np.flatnonzero(is_scored & (n_scored[joined.prompt] >= FEWEST_SCORED))


def pool_blocks(joined: Joined, entries: Ints, config: PairingConfig) -> list[Pool]:
    """Cut entries into pools of whole prompts, none with many more couples than fit into memory."""
    taken = joined.take(entries)
    eligible = may_be_chosen(taken.score, taken.truncated, config)
    starts = np.flatnonzero(np.diff(taken.prompt, prepend=-1))
    sizes = np.diff(starts, append=entries.size)
    block = (np.cumsum(sizes**2) - 1) // _COUPLES_PER_BLOCK
    cuts = [*starts[np.flatnonzero(np.diff(block, prepend=-1))].tolist(), entries.size]
    parts = [slice(start, end) for start, end in pairwise(cuts) if end > start]
    return [Pool(taken.take(part), taken.score[part], eligible[part]) for part in parts]


def price_length(pool: Pool, alpha: float) -> Pool:
    """Take alpha for each character off the values that a rule ranks by."""
    return replace(pool, value=pool.joined.score - alpha * pool.joined.length)


def _pick_in_blocks(blocks: list[Pool], alpha: float, config: PairingConfig) -> tuple[Ints, Ints]:
    most = config.max_pairs or _MOST_PAIRS.get(config.rule, 1)
    none = np.empty(0, dtype=np.int64)
    chosen, rejected, before = [none], [none], 0
    for block in blocks:
        pool = price_length(block, alpha) if alpha else block
        offer = RULES[config.rule](pool, config)
        alive = admit(pool, offer.chosen, offer.rejected, config)
        rows = pick_first(pool.group[offer.chosen], offer.keys, alive, most)
        chosen.append(before + offer.chosen[rows])
        rejected.append(before + offer.rejected[rows])
        before += pool.value.size
    return np.concatenate(chosen), np.concatenate(rejected)
