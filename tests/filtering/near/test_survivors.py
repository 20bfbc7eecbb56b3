import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from filtering.near.survivors import Edges, closest_survivor, survive


def edges(*found):
    first, second, jaccard = zip(*found, strict=True) if found else ((), (), ())
    return Edges(np.array(first, dtype=np.int64), np.array(second, dtype=np.int64), np.array(jaccard, dtype=float))


def test_best_of_a_chain_stays_and_drops_its_neighbour_alone():
    chain = edges((0, 1, 0.9), (2, 1, 0.85))
    stays = survive(3, chain, 0.8)
    assert stays.tolist() == [True, False, True]
    closest = closest_survivor(stays, chain)
    assert closest[1] == 0.9
    assert np.isnan(closest[[0, 2]]).all()


def test_similarity_at_the_threshold_drops_and_below_it_is_a_near_miss():
    found = edges((0, 1, 0.8), (0, 2, 0.79))
    stays = survive(3, found, 0.8)
    assert stays.tolist() == [True, False, True]
    assert closest_survivor(stays, found).tolist() == [0.79, 0.8, 0.79]


def test_no_edges_drop_nobody():
    assert survive(2, edges(), 0.8).tolist() == [True, True]
    assert np.isnan(closest_survivor(np.ones(2, dtype=bool), edges())).all()
    assert survive(0, edges(), 0.8).tolist() == []


@given(st.dictionaries(st.tuples(st.integers(0, 9), st.integers(0, 9)), st.sampled_from([0.6, 0.8, 0.9]), max_size=30))
def test_dropped_have_a_better_neighbour_that_stays_and_survivors_have_none(found):
    found = {pair: jaccard for pair, jaccard in found.items() if pair[0] < pair[1]}
    drawn = edges(*((*pair, jaccard) for pair, jaccard in found.items()))
    stays = survive(10, drawn, 0.8)
    closest = closest_survivor(stays, drawn)
    for one in range(10):
        near = {sum(pair) - one for pair, jaccard in found.items() if one in pair and jaccard >= 0.8}
        assert stays[one] == (not any(stays[other] for other in near if other < one))
        assert stays[one] == (not closest[one] >= 0.8)
