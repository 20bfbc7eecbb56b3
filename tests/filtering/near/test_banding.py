import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from filtering.near.banding import MAX_BUCKET, MAX_CUT_BUCKET, N_BEST, find_candidates, unpack
from filtering.near.signatures import N_BANDS


def pairs(keys, band=0):
    """Find the candidates of a band from keys of shape (sets, bands)."""
    first, second = unpack(find_candidates(band, lambda one: keys[:, one]))
    return list(zip(first.tolist(), second.tolist(), strict=True))


def keys_of(*columns):
    keys = np.arange(len(columns[0]) * N_BANDS, dtype=np.uint32).reshape(-1, N_BANDS)
    for band, column in enumerate(columns):
        keys[:, band] = column
    return keys


def test_sets_with_one_key_are_candidates_once_and_in_order():
    assert pairs(keys_of([7, 5, 7, 7, 5, 1])) == [(0, 2), (0, 3), (1, 4), (2, 3)]


def test_other_bands_do_not_matter_in_small_buckets():
    assert pairs(keys_of([1, 2, 3], [9, 9, 9])) == []
    assert pairs(keys_of([1, 2, 3], [9, 9, 8]), band=1) == [(0, 1)]


def test_full_bucket_compares_all():
    assert len(pairs(keys_of([3] * MAX_BUCKET))) == MAX_BUCKET * (MAX_BUCKET - 1) // 2


def test_large_bucket_compares_all_with_the_best_and_those_that_share_the_next_band():
    n = MAX_BUCKET + 36
    found = pairs(keys_of([3] * n, [*range(n - 2), 1000, 1000]))
    best = [(one, other) for one in range(N_BEST) for other in range(one + 1, n)]
    assert found == sorted([*best, (n - 2, n - 1)])


def test_ten_thousand_sets_with_one_signature_give_a_few_candidates_each():
    n = 10_000
    keys = np.ones((n, N_BANDS), dtype=np.uint32)
    assert len(pairs(keys)) == N_BEST * n - N_BEST * (N_BEST + 1) // 2


def test_ten_thousand_sets_of_one_template_give_a_bounded_number_of_candidates():
    rng, n = np.random.default_rng(3), 10_000
    keys = np.where(rng.random((n, N_BANDS)) < 0.6, 1, rng.integers(2, 2**32, (n, N_BANDS))).astype(np.uint32)
    assert 0 < len(pairs(keys)) <= n * (N_BEST + MAX_CUT_BUCKET // 2)


def test_candidates_do_not_hang_on_the_order_of_rows():
    # Numbers stand for ranks, so other rows for the same ranks are the same keys: here bands are all that is left.
    rng = np.random.default_rng(4)
    keys = rng.integers(0, 3, (300, N_BANDS)).astype(np.uint32)
    assert pairs(keys, 5) == pairs(keys[:, np.roll(np.arange(N_BANDS), -5)], 0)


@given(st.lists(st.integers(0, 3), max_size=40))
def test_candidates_agree_with_comparing_all(column):
    keys = keys_of(np.array(column, dtype=np.uint32))
    n = len(column)
    assert pairs(keys) == [(a, b) for a in range(n) for b in range(a + 1, n) if column[a] == column[b]]
