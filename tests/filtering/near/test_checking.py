import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from filtering.near import checking
from filtering.near.checking import jaccard
from filtering.near.shingles import Sets


def pack(sets):
    values = [np.array(sorted(one), dtype=np.uint32) for one in sets]
    return Sets(np.concatenate(values), np.cumsum([0, *map(len, values)]))


numbers = st.sets(st.integers(0, 2**32 - 1) | st.integers(0, 6), min_size=1, max_size=8)


@given(st.lists(numbers, min_size=1, max_size=6), st.lists(numbers, min_size=1, max_size=6), st.data())
def test_similarity_agrees_with_python_sets(left, right, data):
    pairs = data.draw(
        st.lists(st.tuples(st.integers(0, len(left) - 1), st.integers(0, len(right) - 1)), min_size=1, max_size=12)
    )
    at, against = np.array(pairs).T
    found = jaccard(pack(left), at, pack(right), against)
    assert found.tolist() == [len(left[a] & right[b]) / len(left[a] | right[b]) for a, b in pairs]


def test_no_pairs_have_no_similarities():
    none = np.empty(0, dtype=np.int64)
    assert jaccard(pack([{1}]), none, pack([{1}]), none).tolist() == []


def test_similarities_are_the_same_over_many_blocks(monkeypatch):
    sets = [set(range(start, start + 10)) for start in range(20)]
    at, against = np.triu_indices(20, 1)
    whole = jaccard(pack(sets), at, pack(sets), against)
    monkeypatch.setattr(checking, "_MAX_VALUES", 37)
    assert jaccard(pack(sets), at, pack(sets), against).tolist() == whole.tolist()
    assert whole[0] == 9 / 11
