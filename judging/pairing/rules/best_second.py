"""A prompt's highest score against the next lower one, as in RLHFlow (arXiv 2405.07863): close, low in signal."""

from judging.pairing.couples import Offer, Pool, pair_best_with_rest, tie_keys
from judging.pairing.pairing_config import PairingConfig


def offer_best_second(pool: Pool, config: PairingConfig) -> Offer:
    """Offer the best candidate with each other one, the best of them first."""
    chosen, rejected = pair_best_with_rest(pool, config.tie_rule)
    return Offer(chosen, rejected, [-pool.value[rejected], *tie_keys(pool, chosen, rejected, config.tie_rule)])
