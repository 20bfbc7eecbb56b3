"""Mixing a round's pairs with those of earlier rounds."""

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from judging.schema import PAIRS
from training.rows.replay import mix_pairs


def pairs(*ids, **fields):
    return pa.Table.from_pylist([{"pair_id": id, "margin": 1.0, "chosen": f"text {id}"} | fields for id in ids], PAIRS)


def ids(table):
    return table["pair_id"].to_pylist()


def test_half_replay_gives_as_many_earlier_pairs_as_new_ones():
    mixed = mix_pairs(pairs("n1", "n2"), [pairs("a", "b", "c"), pairs("d", "e")], 0.5, seed=0)
    assert (mixed.n_new, mixed.n_replayed, mixed.n_wanted) == (2, 2, 2)
    assert ids(mixed.pairs)[:2] == ["n1", "n2"]
    assert set(ids(mixed.pairs)[2:]) < set("abcde")
    assert mixed.pairs.schema == PAIRS


def test_replayed_rows_keep_all_their_columns():
    mixed = mix_pairs(pairs("n"), [pairs("a", rejected="bad", chosen_token_ids=[1, 2])], 0.5, seed=0)
    assert mixed.pairs.to_pylist() == [
        *pairs("n").to_pylist(),
        *pairs("a", rejected="bad", chosen_token_ids=[1, 2]).to_pylist(),
    ]


def test_share_is_of_the_whole():
    earlier = [pairs(*(f"e{row}" for row in range(100)))]
    mixed = mix_pairs(pairs(*(f"n{row}" for row in range(30))), earlier, 0.25, seed=0)
    assert (mixed.n_replayed, mixed.pairs.num_rows) == (10, 40)


def test_too_few_earlier_pairs_are_all_taken_and_the_wish_is_told():
    mixed = mix_pairs(pairs("n1", "n2", "n3"), [pairs("a")], 0.5, seed=0)
    assert (mixed.n_replayed, mixed.n_wanted) == (1, 3)


def test_no_share_and_no_earlier_rounds_give_the_new_pairs():
    new = pairs("n1", "n2")
    assert mix_pairs(new, [pairs("a")], 0.0, seed=0).pairs.equals(new)
    assert mix_pairs(new, [], 0.5, seed=0).pairs.equals(new)


def test_pair_that_is_new_again_is_not_replayed():
    mixed = mix_pairs(pairs("n", "a"), [pairs("a", "b")], 0.5, seed=0)
    assert ids(mixed.pairs) == ["n", "a", "b"]


def test_pair_of_two_earlier_rounds_is_replayed_once_with_its_larger_margin():
    small, large = pairs("a", margin=0.5), pairs("a", margin=2.0)
    for earlier in ([small, large], [large, small]):
        mixed = mix_pairs(pairs("n1", "n2"), earlier, 0.5, seed=0)
        assert mixed.pairs["margin"].to_pylist()[2:] == [2.0]


def test_seeds_draw_different_pairs():
    earlier = [pairs(*(f"e{row}" for row in range(50)))]
    draws = {tuple(ids(mix_pairs(pairs("n1", "n2"), earlier, 0.5, seed).pairs)) for seed in range(5)}
    assert len(draws) == 5


def test_every_pair_is_drawn_equally_often():
    earlier = [pairs(*"abcdefghij")]
    drawn = [ids(mix_pairs(pairs("n"), earlier, 0.5, seed).pairs)[1] for seed in range(2000)]
    assert all(140 < drawn.count(id) < 260 for id in "abcdefghij")  # 200 +- 4.5 standard deviations


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_share_must_leave_room_for_new_pairs(share):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\)"):
        mix_pairs(pairs("n"), [], share, seed=0)


def test_table_with_other_columns_is_refused():
    with pytest.raises(ValueError, match=r"(?i)schema"):
        mix_pairs(pairs("n"), [pairs("a").drop_columns("rule")], 0.5, seed=0)


IDS = st.lists(st.sampled_from([f"i{number}" for number in range(20)]), unique=True, max_size=12)
EARLIER = st.lists(IDS, max_size=4)
SHARES = st.floats(0, 0.95)


@given(IDS, EARLIER, SHARES, st.integers(0, 3))
def test_counts_add_up_and_no_pair_comes_twice(new, earlier, share, seed):
    mixed = mix_pairs(pairs(*new), [pairs(*table) for table in earlier], share, seed)
    there = {id for table in earlier for id in table} - set(new)
    assert mixed.n_new == len(new)
    assert mixed.n_wanted == round(share / (1 - share) * len(new))
    assert mixed.n_replayed == min(mixed.n_wanted, len(there))
    got = ids(mixed.pairs)
    assert got[: len(new)] == new
    assert len(got) == len(set(got)) == mixed.n_new + mixed.n_replayed
    assert set(got[len(new) :]) <= there


@given(IDS, EARLIER, SHARES, st.randoms(use_true_random=False))
def test_order_of_earlier_tables_and_rows_changes_nothing(new, earlier, share, random):
    straight = mix_pairs(pairs(*new), [pairs(*table) for table in earlier], share, seed=1)
    tables = [pairs(*random.sample(table, len(table))) for table in random.sample(earlier, len(earlier))]
    turned = mix_pairs(pairs(*random.sample(new, len(new))), tables, share, seed=1)
    assert straight.pairs.slice(len(new)).equals(turned.pairs.slice(len(new)))


@given(IDS, EARLIER, SHARES, SHARES)
def test_larger_share_only_adds_pairs(new, earlier, one, other):
    assume(one <= other)
    few, many = (
        ids(mix_pairs(pairs(*new), [pairs(*t) for t in earlier], share, seed=2).pairs) for share in (one, other)
    )
    assert many[: len(few)] == few
