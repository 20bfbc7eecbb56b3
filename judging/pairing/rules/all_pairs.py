"""Every answer against every lower one of its prompt, each pair with the weight sigmoid(slope * margin).

A prompt of k answers gives up to k (k - 1) / 2 pairs that share their texts: cap them with `max_pairs`.
"""

import numpy as np

from judging.pairing.couples import Offer, Pool, cross
from judging.pairing.pairing_config import PairingConfig


def offer_all_pairs(pool: Pool, config: PairingConfig) -> Offer:  # noqa: ARG001  every rule is called alike
    """Offer each candidate with each lower one of its prompt, in a random order."""
    everyone = np.ones(pool.value.size, dtype=bool)
    chosen, rejected = cross(pool, everyone, everyone)
    lower = pool.value[chosen] > pool.value[rejected]
    chosen, rejected = chosen[lower], rejected[lower]
    # The golden ratio keeps the two draws from cancelling out: a sum modulo 1 of uniform numbers is uniform.
    draw = (pool.joined.draw[chosen] + 0.6180339887498949 * pool.joined.draw[rejected]) % 1.0
    return Offer(chosen, rejected, [draw, chosen.astype(np.float64), rejected.astype(np.float64)])
