"""The order of the pairs."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.order import Order, number_prompts


def order(rows=100, seed=1, batches="shuffled", prompts=None, batch_size=8):
    numbers = np.arange(rows) if prompts is None else np.array(prompts)
    return Order(batches, seed, numbers, np.arange(rows) % 17, batch_size)


@pytest.mark.parametrize("batches", ["shuffled", "by_prompt", "by_length"])
def test_every_pair_comes_once_an_epoch(batches):
    assert sorted(order(batches=batches).of_epoch(0).tolist()) == list(range(100))


@pytest.mark.parametrize("batches", ["shuffled", "by_prompt", "by_length"])
def test_epochs_and_seeds_have_orders_of_their_own(batches):
    orders = {tuple(order(seed=seed, batches=batches).of_epoch(epoch).tolist()) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4


@pytest.mark.parametrize("batches", ["shuffled", "by_prompt", "by_length"])
def test_the_same_seed_gives_the_same_order(batches):
    assert order(batches=batches).of_epoch(3).tolist() == order(batches=batches).of_epoch(3).tolist()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(0, 3))
def test_the_pairs_of_a_prompt_follow_each_other(prompts, epoch):
    numbers = number_prompts([str(one) for one in prompts])
    one = Order("by_prompt", 3, numbers, np.ones(len(prompts)), 4)
    seen = numbers[one.of_epoch(epoch)]
    assert 1 + np.count_nonzero(np.diff(seen)) == len(set(prompts))


def test_batches_by_length_hold_like_lengths_and_the_short_one_comes_last():
    one = order(batches="by_length", batch_size=8)
    lengths = one.lengths[one.of_epoch(0)]
    spread = [np.ptp(lengths[start : start + 8]) for start in range(0, 96, 8)]
    assert max(spread) <= 2
    assert len(lengths[96:]) == 4
    assert lengths[96:].max() == 0  # the shortest


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 3))
def test_packing_keeps_every_pair_and_every_prompt_together(sizes, epoch):
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    seen = Order("by_prompt", 3, numbers, np.ones(len(numbers)), 4).of_epoch(epoch)
    assert sorted(seen.tolist()) == list(range(len(numbers)))
    assert 1 + np.count_nonzero(np.diff(numbers[seen])) == len(sizes)


def test_prompts_of_uneven_sizes_are_seldom_cut_by_a_batch():
    sizes = [1, 2, 3, 5, 4, 1, 2, 6] * 50
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    seen = numbers[Order("by_prompt", 1, numbers, np.ones(len(numbers)), 8).of_epoch(0)]
    unpacked = np.repeat(np.arange(len(sizes)), np.random.default_rng(0).permutation(sizes))
    cuts, without = (int(np.count_nonzero(one[8::8] == one[7:-1:8])) for one in (seen, unpacked))
    assert cuts <= 5
    assert without > 80


def test_micro_batches_cut_few_prompts_of_a_batch():
    numbers = np.repeat(np.arange(30), [4, 2, 2] * 10)
    seen = numbers[Order("by_prompt", 1, numbers, np.ones(80), 8).of_epoch(0)].reshape(-1, 4)
    assert all(set(one).isdisjoint(other) for one, other in pairwise(seen))


def test_a_prompt_larger_than_a_batch_is_cut():
    numbers = np.repeat([0, 1, 2], [11, 1, 4])
    seen = numbers[Order("by_prompt", 1, numbers, np.ones(16), 4).of_epoch(0)]
    assert 1 + np.count_nonzero(np.diff(seen)) == 3
