"""The rule of Iterative DPO: a prompt's highest score against its lowest.

Ties follow WPO (arXiv 2406.11827, second version of its data): among the highest scores the shortest answer is chosen,
among the lowest the one closest in length to the chosen answer is rejected, so that a coarse judge does not teach
length. WPO's weights and its mix of on- and off-policy answers are left out.
"""

from judging.pairing.couples import Offer, Pool, pair_best_with_rest, tie_keys
from judging.pairing.pairing_config import PairingConfig


def offer_best_worst(pool: Pool, config: PairingConfig) -> Offer:
    """Offer the best candidate with each other one, the worst first."""
    chosen, rejected = pair_best_with_rest(pool, config.tie_rule)
    return Offer(chosen, rejected, [pool.value[rejected], *tie_keys(pool, chosen, rejected, config.tie_rule)])
