import numpy as np
import pytest

from filtering.near.shingles import Sets
from filtering.near.signatures import N_BANDS, band_keys


def draw(rng, n, overlap):
    """Make a set and one that shares a part of it."""
    numbers = rng.choice(2**32, 2 * n, replace=False).astype(np.uint32)
    return np.sort(numbers[:n]), np.sort(np.concatenate([numbers[:overlap], numbers[n : 2 * n - overlap]]))


def pack(sets):
    return Sets(np.concatenate(sets), np.cumsum([0, *map(len, sets)]))


def test_equal_sets_share_all_bands_wherever_they_stand():
    rng = np.random.default_rng(1)
    one, other = draw(rng, 40, 0)
    filler = [draw(rng, 10, 0)[0] for _ in range(300)]
    keys = band_keys(pack([one, *filler, other, one]))
    assert keys.shape == (303, N_BANDS)
    assert (keys[0] == keys[302]).all()
    assert not (keys[0] == keys[301]).any()


@pytest.mark.parametrize("similarity", [0.5, 0.8])
def test_share_of_common_bands_is_the_fourth_power_of_the_similarity(similarity):
    # |A| = |B| = n with an overlap of 2 n s / (1 + s) have Jaccard similarity s.
    rng, n = np.random.default_rng(2), 90
    pairs = [draw(rng, n, round(2 * n * similarity / (1 + similarity))) for _ in range(400)]
    keys = band_keys(pack([one for pair in pairs for one in pair]))
    assert (keys[::2] == keys[1::2]).mean() == pytest.approx(similarity**4, rel=0.1)


def test_no_sets_have_no_keys():
    assert band_keys(pack([np.empty(0, np.uint32)])).shape == (1, N_BANDS)
    assert band_keys(Sets(np.empty(0, np.uint32), np.zeros(1, np.int64))).shape == (0, N_BANDS)
