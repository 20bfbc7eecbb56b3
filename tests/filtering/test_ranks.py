import numpy as np

from filtering.ranks import cap_share, keep_best, rank_in_group


def test_pairs_are_ranked_within_their_group():
    assert rank_in_group(np.array([7, 5, 7, 7]), np.array([3, 1, 0, 2])).tolist() == [2, 1, 3, 1]


def test_groups_within_the_limit_have_no_values():
    measured = keep_best(np.array([7, 5, 7]), np.array([2, 1, 0]), 1, "too_many")
    assert measured.keep.tolist() == [False, True, True]
    np.testing.assert_array_equal(np.asarray(measured.values), [2.0, np.nan, 1.0])


def test_share_at_its_limit_is_kept_and_the_next_one_is_above_it():
    counted = np.array([True, True, False])
    measured = cap_share(counted, 1, np.array([1, 0, 2]), 0.5, "too_many", "chosen")
    assert measured.keep.tolist() == [False, True, True]
    np.testing.assert_array_equal(np.asarray(measured.values), [2 / 3, 0.5, np.nan])


def test_nothing_is_ranked_in_nothing():
    none = np.array([], dtype=np.int64)
    assert len(keep_best(none, none, 1, "too_many").keep) == 0
    assert len(cap_share(none.astype(bool), 0, none, 0.5, "too_many", "chosen").keep) == 0
