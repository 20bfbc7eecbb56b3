"""Sets in, band keys out: MinHash signatures of 128 permutations (rensa's R-MinHash), cut into 32 bands of 4.

Two sets of Jaccard similarity s share a band with a chance of 1 - (1 - s^4)^32: 0.87 at 0.5, 0.9998 at 0.7 and
1 - 5 in 10^8 at 0.8.
"""

# pyright: reportAttributeAccessIssue=false
# rensa has no types.

import itertools

import numpy as np
from rensa import RMinHash

from filtering.near.shingles import Sets

N_PERMUTATIONS = 128
N_BANDS = 32
SEED = 42
# Of rensa: signatures of different versions must never be compared.
ALGORITHM_VERSION: int = RMinHash.ALGORITHM_VERSION

# rensa gives signatures as Python ints only. A few rows at a time stay in the processor's cache: twice as fast as all.
_ROWS = 128


Signatures = np.ndarray[tuple[int, int], np.dtype[np.uint32]]


def band_keys(sets: Sets) -> Signatures:
    """Give 32 bits of a hash of each band, shape (sets, bands).

    Two keys of a band that are equal by chance make a candidate that the exact check throws out: among a million sets
    about 100 a band.
    """
    values, starts = sets.values.astype(np.uint64), sets.offsets.astype(np.uint64)
    signatures = np.empty((len(sets), N_PERMUTATIONS), dtype=np.uint32)
    for begin in range(0, len(sets), _ROWS):
        end = min(begin + _ROWS, len(sets))
        rows = starts[begin : end + 1]
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(
            values[rows[0] : rows[-1]], rows - rows[0], N_PERMUTATIONS, SEED
        )
        flat = itertools.chain.from_iterable(matrix.to_rows())
        signatures[begin:end] = np.fromiter(flat, np.uint32, (end - begin) * N_PERMUTATIONS).reshape(end - begin, -1)
    return hash_bands(signatures)


def hash_bands(signatures: Signatures) -> Signatures:
    """Give 32 bits of a hash of each band's four numbers (multiply-shift)."""
    halves = signatures.view(np.uint64).reshape(len(signatures), N_BANDS, 2)
    mixed = halves[:, :, 0] * np.uint64(0x9E3779B97F4A7C15) + halves[:, :, 1] * np.uint64(0xC2B2AE3D27D4EB4F)
    return (mixed >> np.uint64(32)).astype(np.uint32)
