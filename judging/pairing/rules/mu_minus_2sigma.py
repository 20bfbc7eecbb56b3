"""A prompt's highest score against the one nearest to two standard deviations below its mean (arXiv 2502.16825).

The lowest of n normal scores lies 1.4 standard deviations below the mean at n = 8, 2.0 at n = 28 and 2.3 at n = 64: up
to some 28 candidates the rule nearly is best_worst, above it leaves out the broken answers at the very bottom. The
paper's other six positions are left out.
"""

import numpy as np

from judging.pairing.couples import Offer, Pool, pair_best_with_rest, tie_keys
from judging.pairing.pairing_config import PairingConfig

_SIGMAS = 2


def offer_mu_minus_2sigma(pool: Pool, config: PairingConfig) -> Offer:
    """Offer the best candidate with each other one, the nearest to mean - 2 standard deviations first.

    Mean and standard deviation (of the population: divided by n) are those of all scored candidates of the prompt.
    """
    mean = np.add.reduceat(pool.value, pool.starts) / pool.sizes if pool.starts.size else np.empty(0)
    deviation = pool.value - mean[pool.group]
    variance = np.bincount(pool.group, weights=deviation**2, minlength=mean.size) / np.maximum(pool.sizes, 1)
    target = mean - _SIGMAS * np.sqrt(variance)
    chosen, rejected = pair_best_with_rest(pool, config.tie_rule)
    distance = np.abs(pool.value[rejected] - target[pool.group[rejected]])
    return Offer(chosen, rejected, [distance, *tie_keys(pool, chosen, rejected, config.tie_rule)])
