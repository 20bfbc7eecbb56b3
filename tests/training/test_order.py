"""The order of the pairs."""

from training.order import epoch_order


def test_every_pair_comes_once_an_epoch():
    assert sorted(epoch_order(100, seed=1, epoch=0).tolist()) == list(range(100))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(epoch_order(100, seed, epoch).tolist()) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4


def test_the_same_seed_gives_the_same_order():
    assert epoch_order(5, seed=1, epoch=0).tolist() == epoch_order(5, seed=1, epoch=0).tolist()
