"""What people are told of a training, each at its threshold."""

import dataclasses

import pytest

from training.rows.examples import Answer, Example
from training.watching.concerns import Course, find_concerns


def pair(prompt, chosen=10, rejected=10):
    answers = [Answer([7] * n, retokenized=False, policy=None, stored_logprob=None) for n in (chosen, rejected)]
    return Example("", prompt, [1], *answers)


def metrics(**changed):
    return {"rewards/accuracies": 0.5, "rewards/margins": 0.0, "token_logps/chosen": -1.0} | changed


@pytest.fixture
def course():
    """A training that nothing is to be said of."""
    return Course(
        trained=[pair(f"prompt{number}") for number in range(40)],
        held_out=[],
        n_dropped=2,
        steps=20,
        n_first=32,
        before=metrics(),
        after=metrics(**{"rewards/margins": 0.4, "rewards/accuracies": 0.8}),
        held_out_accuracies=[],
    )


def codes(course, **changed):
    return {one.code: one.text for one in find_concerns(dataclasses.replace(course, **changed))}


def test_a_training_as_it_should_be_raises_no_concern(course):
    assert codes(course) == {}


def test_chosen_likelihood_that_falls_while_margins_rise(course):
    risen = {"rewards/margins": 0.4, "rewards/accuracies": 0.8}
    found = codes(course, after=metrics(**risen, **{"token_logps/chosen": -1.25}))
    assert "lost 0.25 nats a token while their margin rose from 0 to 0.4" in found["chosen_likelihood_falls"]
    assert codes(course, after=metrics(**risen, **{"token_logps/chosen": -1.09})) == {}
    assert codes(course, after=metrics(**{"token_logps/chosen": -1.5})) == {}  # the margin has not risen


def test_accuracy_before_training(course):
    found = codes(course, before=metrics(**{"rewards/accuracies": 0.96875}))
    assert "prefers the chosen answer in 97% of the first 32 pairs" in found["accurate_before_training"]
    assert codes(course, before=metrics(**{"rewards/accuracies": 0.94})) == {}
    assert codes(course, before=metrics(**{"rewards/accuracies": 1.0}), n_first=15) == {}


@pytest.mark.parametrize(
    ("chosen", "rejected", "said"),
    [
        (13, 10, "longer than rejected ones: 13 against 10 tokens in the mean (+30%)"),
        (7, 10, "shorter than rejected ones: 7 against 10 tokens in the mean (-30%)"),
        (12, 10, None),
    ],
)
def test_a_gap_in_length_and_which_way(course, chosen, rejected, said):
    found = codes(course, trained=[pair(f"prompt{number}", chosen, rejected) for number in range(40)])
    assert said in found["length_gap"] if said else found == {}


def test_most_pairs_of_one_prompt(course):
    mostly = [pair("same")] * 21 + [pair(f"prompt{number}") for number in range(19)]
    assert "21 of 40 pairs (52%) are of one prompt, same" in codes(course, trained=mostly)["one_prompt"]
    assert codes(course, trained=[pair("same")] * 20 + mostly[21:] + [pair("another")]) == {}
    assert "one_prompt" not in codes(course, trained=[pair("same")] * 7)


def test_few_steps(course):
    assert "had 9 optimiser steps" in codes(course, steps=9)["few_steps"]
    assert codes(course, steps=10) == {}


def test_held_out_accuracy_that_never_rises(course):
    held = [pair(f"held{number}") for number in range(40)]
    found = codes(course, held_out=held, held_out_accuracies=[0.5, 0.48, 0.5])
    assert "began at 0.500 and was never above it (at best 0.500)" in found["held_out_not_rising"]
    assert codes(course, held_out=held, held_out_accuracies=[0.5, 0.6, 0.4]) == {}


def test_few_held_out_pairs(course):
    found = codes(course, held_out=[pair("held")] * 25, held_out_accuracies=[0.5, 0.6])
    assert "25 pairs are held out: an accuracy over so few is uncertain by 0.20" in found["few_held_out"]


def test_many_dropped_pairs(course):
    assert "11 of 51 pairs (22%) could not be trained on" in codes(course, n_dropped=11)["pairs_dropped"]
    assert codes(course, n_dropped=10) == {}
