"""Numbers of pairs: one for either answer of each pair."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PairValues:
    """One number for either answer of each pair, both of shape `(pairs,)`: log-prob sums in nats, or token counts."""

    chosen: np.ndarray
    rejected: np.ndarray

    def take(self, rows: np.ndarray) -> "PairValues":
        """Pick pairs by row number."""
        return PairValues(self.chosen[rows], self.rejected[rows])
