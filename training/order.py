"""The order in which pairs are trained on: a seed and an epoch in, row numbers out."""

import numpy as np


def epoch_order(rows: int, seed: int, epoch: int) -> np.ndarray:
    """Shuffle the row numbers of one pass.

    The order depends on nothing else: neither on the micro-batch size nor on what drew random numbers before.

    Returns:
        int64, shape `(rows,)`.
    """
    return np.random.default_rng([seed, epoch]).permutation(rows)
