"""What a couple of candidates must be to stand as a pair, whatever rule offers it.

Conditions are looked at in one order, so that the ledger can say which was the first to leave a prompt without a pair.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from judging.pairing.couples import Pool
from judging.pairing.joined import Bools, Floats, Ints
from judging.pairing.pairing_config import PairingConfig

_TIE = 0.5  # the probability of a difference of 0


@dataclass(frozen=True)
class Condition:
    """One thing that couples are held against.

    Attributes:
        reason: Stands in the ledger where no couple passes.
        passes: Of each couple.
        measured: What was measured of each couple; None where nothing is a number.
        threshold: What it was held against; NaN likewise.
        closest: What finds, among several measures, the one that came closest to passing.
    """

    reason: str
    passes: Bools
    measured: Floats | None = None
    threshold: float = np.nan
    closest: np.ufunc = np.minimum


def may_be_chosen(score: Floats, truncated: Bools, config: PairingConfig) -> Bools:
    """Tell which candidates may be the chosen one of a pair."""
    enough = True if config.min_chosen_score is None else score >= config.min_chosen_score
    return (~truncated | (not config.chosen_must_finish)) & enough


def in_margin_unit(difference: Floats, config: PairingConfig) -> Floats:
    """Give differences of scores in the unit of the margins."""
    return difference if config.margin_unit == "score" else probability(difference, config.slope)


def probability(difference: Floats, slope: float) -> Floats:
    """Give how likely the first is the better one: sigmoid(slope * difference) (Bradley-Terry)."""
    return np.exp(-np.logaddexp(0.0, -slope * difference))


def margin_threshold(config: PairingConfig) -> float:
    """Give what margins must be above, in their unit."""
    return config.min_margin if config.margin_unit == "score" else max(config.min_margin, _TIE)


def hold_against(pool: Pool, chosen: Ints, rejected: Ints, config: PairingConfig) -> Iterator[Condition]:
    """Hold couples against every condition that the config asks for, in the order in which they are looked at."""
    joined = pool.joined
    gap = joined.score[chosen] - joined.score[rejected]
    margin = in_margin_unit(gap, config)
    # Also above 0: a small slope could round a difference to a tie's probability, and no pair may be one.
    yield Condition(
        "min_margin", (gap > 0) & (margin > margin_threshold(config)), margin, margin_threshold(config), np.maximum
    )
    yield Condition("same_text", joined.text[chosen] != joined.text[rejected])
    if config.chosen_must_finish:
        yield Condition("truncated", ~joined.truncated[chosen])
    if config.min_chosen_score is not None:
        score = joined.score[chosen]
        yield Condition("low_score", score >= config.min_chosen_score, score, config.min_chosen_score, np.maximum)
    if config.max_margin is not None:
        yield Condition("max_margin", margin <= config.max_margin, margin, config.max_margin)
    if config.length_band is not None:
        apart = np.abs(joined.length[chosen] - joined.length[rejected]) / np.maximum(joined.length[chosen], 1)
        yield Condition("length_band", apart <= config.length_band, apart, config.length_band)
    if config.require_on_policy:
        yield Condition("off_policy", joined.on_policy[chosen] | joined.on_policy[rejected])


def admit(pool: Pool, chosen: Ints, rejected: Ints, config: PairingConfig) -> Bools:
    """Tell which couples pass every condition."""
    alive = np.ones(chosen.size, dtype=bool)
    for condition in hold_against(pool, chosen, rejected, config):
        alive &= condition.passes
    return alive
