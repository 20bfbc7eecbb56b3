"""Weights and the numbers that losses ask for, as pairs hold them."""

import math

import pytest

from training.losses.catalogue import LOSSES
from training.rows.examples import Answer, Example
from training.rows.pair_numbers import COLUMNS, NUMBERS, check_numbers, read_numbers, read_weight

ASPECTS = {"chosen_aspects": [("honest", 4.0), ("short", 1.0)], "rejected_aspects": [("short", 3.0), ("honest", 1.0)]}
NONE = {"chosen_aspects": None, "rejected_aspects": None}


def row(**columns):
    return dict.fromkeys(COLUMNS) | NONE | {"pair_id": "a", "weight": None} | columns


def examples(name, *values):
    answer = Answer([5], False, None, None)
    return [
        Example(f"pair{n}", "p", [1], answer, answer, columns=dict.fromkeys(NUMBERS) | {name: value})
        for n, value in enumerate(values)
    ]


@pytest.mark.parametrize(("weight", "counts"), [(None, 1.0), (1e-300, 1e-300), (0.25, 0.25), (1.0, 1.0)])
def test_a_weight_that_the_table_lacks_is_one(weight, counts):
    assert read_weight(row(weight=weight)) == counts


@pytest.mark.parametrize("weight", [0.0, -0.5, 1.5, math.inf, math.nan])
def test_a_weight_outside_of_its_range_raises(weight):
    with pytest.raises(ValueError, match=r"pair a: its weight is .*above 0 and up to 1.* divide all weights"):
        read_weight(row(weight=weight))


def test_numbers_are_those_of_the_row():
    numbers = read_numbers(row(margin=2.0, soft_label=0.9, chosen_p_win=0.7), {})
    assert numbers == {
        "margin": 2.0, "soft_label": 0.9, "chosen_p_win": 0.7, "rejected_p_win": None, "aspect_margin": None
    }  # fmt: skip
    assert tuple(numbers) == NUMBERS


def test_the_aspect_margin_is_the_weighted_difference_of_the_aspects():
    assert read_numbers(row(**ASPECTS), {"short": 0.5, "honest": 0.25})["aspect_margin"] == 0.5 * -2 + 0.25 * 3
    assert read_numbers(row(**ASPECTS), {"honest": 0.25})["aspect_margin"] == 0.75


@pytest.mark.parametrize(
    "aspects", [NONE, ASPECTS | {"rejected_aspects": None}, ASPECTS | {"chosen_aspects": [("honest", None)]}]
)
def test_the_aspect_margin_is_unknown_where_an_aspect_is(aspects):
    assert read_numbers(row(**aspects), {"honest": 0.25})["aspect_margin"] is None


@pytest.mark.parametrize(
    ("column", "fix"),
    [
        ("margin", "scores of both answers"),
        ("soft_label", r"set judging\.pairing\.soft_labels to true"),
        ("chosen_p_win", r"set judging\.pairing\.soft_labels to true"),
        ("rejected_p_win", r"set judging\.pairing\.soft_labels to true"),
        ("aspect_margin", "must hold every aspect that the loss weighs"),
    ],
)
def test_a_number_that_pairs_lack_raises_with_the_fix(column, fix):
    with pytest.raises(ValueError, match=rf"loss dpo asks for {column}, which 2 of 3 pairs lack, .* pair1: .*{fix}"):
        check_numbers(examples(column, 0.5, None, None), "dpo", [column])


@pytest.mark.parametrize(
    ("column", "value", "wanted"),
    [
        ("margin", 0.0, "above 0"),
        ("margin", -1.0, "above 0"),
        ("margin", math.nan, "above 0"),
        ("margin", math.inf, "above 0"),
        ("soft_label", 1.01, "a probability"),
        ("chosen_p_win", math.nan, "a probability"),
        ("rejected_p_win", -0.1, "a probability"),
        ("aspect_margin", math.inf, "finite"),
    ],
)
def test_a_number_out_of_its_range_raises(column, value, wanted):
    with pytest.raises(ValueError, match=rf"{column}, which is not {wanted} in 1 of 2 pairs, the first is pair pair1"):
        check_numbers(examples(column, 0.5, value), "dpo", [column])


def test_numbers_that_no_loss_asks_for_may_be_anything():
    check_numbers(examples("margin", None, -1.0, math.nan), "dpo", [])
    for column in ("soft_label", "chosen_p_win", "rejected_p_win"):
        check_numbers(examples(column, 0.0, 0.5, 1.0), "dpo", [column])


def test_every_column_that_a_loss_asks_for_is_read():
    assert {column for loss in LOSSES.values() for column in loss.columns} <= set(NUMBERS)
    assert all(loss.aspect_weights for loss in LOSSES.values() if "aspect_margin" in loss.columns)
