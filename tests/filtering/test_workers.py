import os

import pytest

from filtering.workers import Processes


def double(item):
    if item < 0:
        os._exit(9)  # as the kernel ends a process that takes too much memory
    return 2 * item


@pytest.mark.slow
def test_results_come_in_the_order_of_the_items():
    assert list(Processes(2).map(double, iter(range(9)))) == [2 * item for item in range(9)]


@pytest.mark.slow
def test_a_process_that_is_ended_from_outside_is_told_as_such():
    with pytest.raises(OSError, match=r"ended from outside.*what is measured is kept"):
        list(Processes(2).map(double, [1, -1, 2]))
