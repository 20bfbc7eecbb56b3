"""Why a prompt gave no pair: the first condition that none of its couples passed.

First all couples of the prompt are looked at, then those that the rule offers, so that a reason speaks of the rule only
where another rule would have found a pair.
"""

from dataclasses import dataclass

import numpy as np

from judging.pairing.couples import Pool, cross
from judging.pairing.joined import FEWEST_SCORED, Bools, Floats, Ints, Joined
from judging.pairing.modifiers import hold_against, in_margin_unit, margin_threshold
from judging.pairing.pairing_config import PairingConfig
from judging.pairing.picking import RULES, pool_blocks, price_length


@dataclass
class Reasons:
    """Why each of some prompts gave no pair, columns that are filled in bit by bit.

    Attributes:
        reason: "" where nothing has been found yet.
        value: What was measured; NaN where nothing is a number.
        threshold: What it was held against; NaN likewise.
    """

    reason: np.ndarray
    value: Floats
    threshold: Floats

    def fill(self, rows: Ints, reason: str, value: Floats | float, threshold: float) -> None:
        """Give a reason to rows."""
        self.reason[rows], self.value[rows], self.threshold[rows] = reason, value, threshold


def find_reasons(joined: Joined, alpha: float, config: PairingConfig) -> Reasons:
    """Find why prompts gave no pair.

    Args:
        joined: The candidates of these prompts, and of no other ones.
        alpha: The price of a character that the pairs were picked at.
        config: What they were picked by.

    Returns:
        A row a prompt, in their order.
    """
    starts = np.flatnonzero(np.diff(joined.prompt, prepend=-1))
    n = starts.size
    found = Reasons(np.full(n, "", dtype=object), np.full(n, np.nan), np.full(n, np.nan))
    if not n:
        return found
    _look_at_scores(found, joined.score, starts, config)
    undecided = found.reason == ""
    sizes = np.diff(starts, append=joined.score.size)
    entries = np.flatnonzero(np.repeat(undecided, sizes) & ~np.isnan(joined.score))
    rows, done = np.flatnonzero(undecided), 0
    for block in pool_blocks(joined, entries, config):
        pool = price_length(block, alpha)
        own = rows[done : done + pool.starts.size]
        done += own.size
        everyone = np.ones(pool.value.size, dtype=bool)
        _look_at_couples(found, own, pool, *cross(pool, everyone, everyone), config)
        offer = RULES[config.rule](pool, config)
        _look_at_couples(found, own, pool, offer.chosen, offer.rejected, config, min_margin="length_control")
        # What is left has couples that would do; only a price for length can make a rule offer none of them.
        found.fill(own[found.reason[own] == ""], "length_control", np.nan, np.nan)
    return found


def _look_at_scores(found: Reasons, score: Floats, starts: Ints, config: PairingConfig) -> None:
    """Decide what needs no couples, the last word first."""
    n_scored = np.add.reduceat(~np.isnan(score), starts, dtype=np.int64)
    highest, lowest = np.fmax.reduceat(score, starts), np.fmin.reduceat(score, starts)
    spread = in_margin_unit(np.nan_to_num(highest - lowest), config)  # NaN: not one score, which is too few below
    for reason, is_so in (("min_margin", spread <= margin_threshold(config)), ("tied", highest == lowest)):
        rows = np.flatnonzero(is_so)
        found.fill(rows, reason, spread[rows], margin_threshold(config))
    if config.rule == "correct_incorrect":
        for reason, measured, is_so in (
            ("all_correct", lowest, lowest >= config.pass_score),
            ("none_correct", highest, highest < config.pass_score),
        ):
            rows = np.flatnonzero(is_so)
            found.fill(rows, reason, measured[rows], config.pass_score)
    few = np.flatnonzero(n_scored < FEWEST_SCORED)
    found.fill(few, "too_few_scored", n_scored[few], FEWEST_SCORED)


def _look_at_couples(
    found: Reasons,
    rows: Ints,
    pool: Pool,
    chosen: Ints,
    rejected: Ints,
    config: PairingConfig,
    min_margin: str = "min_margin",
) -> None:
    """Fill in the condition at which the last couples of a prompt fell; `min_margin` is what that one is called."""
    group = pool.group[chosen]
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    if not starts.size:
        return
    rows = rows[group[starts]]
    alive: Bools = found.reason[rows].repeat(np.diff(starts, append=group.size)) == ""
    for condition in hold_against(pool, chosen, rejected, config):
        before, alive = alive, alive & condition.passes
        fell = np.logical_or.reduceat(before, starts) & ~np.logical_or.reduceat(alive, starts)
        value = np.full(starts.size, np.nan)
        if condition.measured is not None:
            worst = np.inf if condition.closest is np.minimum else -np.inf
            value = condition.closest.reduceat(np.where(before, condition.measured, worst), starts)
        reason = min_margin if condition.reason == "min_margin" else condition.reason
        found.fill(rows[fell], reason, value[fell], condition.threshold)
