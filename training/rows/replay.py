"""A round's pairs and those of earlier rounds in, both mixed out, so that a policy does not forget what it was taught.

DICE (arXiv 2406.09760) trains on half replayed pairs whose prompts are not among the new ones; here the rounds' prompts
are dealt out before, so that only equal pairs are looked for. Scores are replayed as they were given.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Replay:
    """What a round trains on.

    Attributes:
        pairs: Table of `judging.schema.PAIRS`: the new pairs in their order, then the replayed ones.
        n_new: Pairs of this round.
        n_replayed: Pairs of earlier rounds.
        n_wanted: Pairs of earlier rounds that the share asks for; above `n_replayed` where there are too few.
    """

    pairs: pa.Table
    n_new: int
    n_replayed: int
    n_wanted: int


def mix_pairs(new: pa.Table, earlier: list[pa.Table], share: float, seed: int) -> Replay:
    """Add pairs of earlier rounds to a round's own.

    They are drawn without replacement, in the order of a hash of seed and pair id: neither the order of the tables and
    of their rows nor pairs that were not drawn change which ones come. A pair that stands in `new`, or twice in
    `earlier`, is taken once.

    Args:
        new: Table of `judging.schema.PAIRS`.
        earlier: Tables of the same schema, one for each earlier round.
        share: Share in [0, 1) of the result that comes from earlier rounds.
        seed: Seed of the draw.

    Raises:
        ValueError: The share is out of range, or a table has other columns than `new`.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share {share} must lie in [0, 1): it is the part of all pairs that earlier rounds give")
    n_wanted = round(share / (1 - share) * new.num_rows)
    pool = pa.concat_tables([new.slice(0, 0), *earlier])
    drawn = _draw(pool, set(new["pair_id"].to_pylist()), n_wanted, seed)
    is_drawn = np.zeros(pool.num_rows, dtype=bool)
    is_drawn[drawn] = True
    # Filtered first: `take` joins its input, and an Arrow string array ends at 2 GiB.
    replayed = pool.filter(pa.array(is_drawn)).take(np.searchsorted(np.sort(drawn), drawn))
    return Replay(pa.concat_tables([new, replayed]), new.num_rows, replayed.num_rows, n_wanted)


def _draw(pool: pa.Table, taken: set[str], n_wanted: int, seed: int) -> np.ndarray:
    """Give the rows of the first `n_wanted` pairs in the order of their hash, without those in `taken`."""
    ids, margins = pool["pair_id"].to_pylist(), pool["margin"].fill_null(0.0).to_pylist()
    # Copies of a pair differ in their scores at most: of them the largest margin comes first, in whatever table it is.
    ranked = sorted(
        (_hash(seed, id), -margin, row)
        for row, (id, margin) in enumerate(zip(ids, margins, strict=True))
        if id not in taken
    )
    row_of: dict[bytes, int] = {}
    for rank, _, row in ranked:
        row_of.setdefault(rank, row)
    return np.array(list(row_of.values())[:n_wanted], dtype=np.int64)


def _hash(seed: int, pair_id: str) -> bytes:
    return hashlib.blake2b(f"replay\n{seed}\n{pair_id}".encode(), digest_size=12).digest()
