"""One of a prompt's best answers against one of its worst: more variety than the two extremes, less noise than any two.

No paper's rule; the quantiles of RIP (arXiv 2501.18578) are of prompts, not of answers.
"""

import numpy as np

from judging.pairing.couples import Offer, Pool, count_up, cross, deal
from judging.pairing.joined import Bools, Floats, Ints
from judging.pairing.pairing_config import PairingConfig


def offer_top_p(pool: Pool, config: PairingConfig) -> Offer:
    """Offer each of the top share with each of the bottom share, dealt like cards."""
    n_of_share = np.maximum(1, np.floor(config.top_share * pool.sizes)).astype(np.int64)
    everyone = np.ones(pool.value.size, dtype=bool)
    top = _first(pool, -pool.value, pool.eligible, n_of_share)
    bottom = _first(pool, pool.value, everyone, n_of_share)
    chosen, rejected = cross(pool, top, bottom)
    return Offer(chosen, rejected, [deal(pool, chosen, rejected)])


def _first(pool: Pool, key: Floats, among: Bools, number: Ints) -> Bools:
    """Mark the so many smallest of each prompt; equal ones by their draws."""
    entries = np.flatnonzero(among)
    entries = entries[np.lexsort((entries, pool.joined.draw[entries], key[entries], pool.group[entries]))]
    group = pool.group[entries]
    marked = np.zeros(among.size, dtype=bool)
    marked[entries[count_up(group) < number[group]]] = True
    return marked
