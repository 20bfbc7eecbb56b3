"""A prompt's highest score against any lower one, as UltraFeedback was made binary for Zephyr (arXiv 2310.16944)."""

import numpy as np

from judging.pairing.couples import Offer, Pool, pair_best_with_rest
from judging.pairing.pairing_config import PairingConfig


def offer_best_random(pool: Pool, config: PairingConfig) -> Offer:
    """Offer the best candidate with each other one, in the order of their draws."""
    chosen, rejected = pair_best_with_rest(pool, config.tie_rule)
    return Offer(chosen, rejected, [pool.joined.draw[rejected], rejected.astype(np.float64)])
