"""The check before the first step, on plain numbers."""

import math

import numpy as np
import pytest

from training.rows.examples import Answer, Example
from training.rows.pair_values import PairValues
from training.step0 import StoredDifference, check_loss, check_stored


def example(pair_id, chosen, rejected, policy="start"):
    sides = [Answer([5] * 10, False, policy, stored) for stored in (chosen, rejected)]
    return Example(pair_id, "prompt", [1], *sides)


def found(*sums):
    return PairValues(np.array(sums[::2]), np.array(sums[1::2]))


def test_equal_losses_pass():
    check_loss(0.61, 0.61005, identity=None, compute="float32")
    check_loss(math.log(2), math.log(2), identity=math.log(2), compute="float32")


@pytest.mark.parametrize("observed", [0.612, float("nan")])
def test_another_loss_than_the_formulas_raises(observed):
    with pytest.raises(ValueError, match=r"the formula gives 0\.610000"):
        check_loss(0.61, observed, identity=None, compute="float32")


def test_a_policy_that_is_its_own_reference_must_give_ln_2():
    with pytest.raises(ValueError, match=r"this loss is 0\.693147"):
        check_loss(0.0, 0.0, identity=math.log(2), compute="float32")


def test_the_largest_difference_is_reported_a_token():
    rows = [example("a", -20.0, -30.0), example("b", -10.0, None)]
    difference = check_stored(rows, found(-20.001, -30.0, -10.0, -1.0), "start", "float32")
    assert difference.answers == 3
    assert difference.largest == pytest.approx(1e-4)


def test_answers_of_other_policies_are_passed_over():
    rows = [example("a", -20.0, -30.0, policy="theirs")]
    assert check_stored(rows, found(-1.0, -1.0), "start", "float32") == StoredDifference(0, None)


@pytest.mark.parametrize("value", [-31.0, float("nan")])
def test_a_mismatch_names_the_pair_and_what_to_look_at(value):
    rows = [example("a", -20.0, -30.0)]
    with pytest.raises(ValueError, match=r"pair a: its rejected answer of 10 tokens.*stored -30\.0000: look for"):
        check_stored(rows, found(-20.0, value), "start", "float32")


def test_bfloat16_may_round_more():
    rows = [example("a", -20.0, -30.0)]
    assert check_stored(rows, found(-20.3, -30.3), "start", "bfloat16").largest == pytest.approx(0.03)
    with pytest.raises(ValueError, match="stored -20"):
        check_stored(rows, found(-20.3, -30.3), "start", "float32")
