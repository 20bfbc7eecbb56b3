"""What pairs tell soft losses: probabilities of winning, and the parts of the scores."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging.config import PairingConfig
from judging.pairing.joined import join_candidates
from judging.pairing.pairing import pair_candidates
from judging.pairing.win_rates import p_win
from judging.schema import SCORES
from tests.judging.answers_to_pair import line_up, pair, tables

LABELS = ("soft_label", "chosen_p_win", "rejected_p_win")


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_labels_are_null_unless_asked_for():
    made = pair(line_up(3, 1, 0)).pairs
    assert [made[name].to_pylist() for name in LABELS] == [[None]] * 3


def test_a_soft_label_is_the_probability_of_the_margin():
    [row] = pair(line_up(3, 1, 0), soft_labels=True, slope=0.5).pairs.to_pylist()
    assert row["soft_label"] == pytest.approx(sigmoid(0.5 * 3))


def test_a_win_rate_is_the_mean_over_the_other_scored_answers_of_the_prompt():
    answers = [*line_up(3, 1, None, 0), *line_up(9, 7, prompt="q")]
    first, second = pair(answers, soft_labels=True, slope=0.5).pairs.to_pylist()
    assert first["chosen_p_win"] == pytest.approx((sigmoid(1.0) + sigmoid(1.5)) / 2)
    assert first["rejected_p_win"] == pytest.approx((sigmoid(-1.5) + sigmoid(-0.5)) / 2)
    assert (second["chosen_p_win"], second["rejected_p_win"]) == pytest.approx((sigmoid(1.0), sigmoid(-1.0)))


def test_labels_of_two_answers_sum_to_one_and_stay_probabilities_at_any_margin():
    [row] = pair(line_up(1e6, -1e6), soft_labels=True).pairs.to_pylist()
    assert [row[name] for name in LABELS] == [1.0, 1.0, 0.0]


@given(st.lists(st.lists(st.none() | st.integers(-3, 3).map(float), max_size=5), max_size=4), st.integers(1, 9))
def test_win_rates_of_a_prompt_have_the_mean_one_half(prompts, couples):
    answers = [one for n, scores in enumerate(prompts) for one in line_up(*scores, prompt=f"q{n}")]
    joined = join_candidates(*tables(answers))
    pairable = [n for n, scores in enumerate(prompts) if sum(score is not None for score in scores) > 1]
    entries = np.flatnonzero(~np.isnan(joined.score) & np.isin(joined.prompt, _rows(prompts, pairable)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("judging.pairing.win_rates._COUPLES_PER_BLOCK", couples)
        found = p_win(joined, entries, 1.0)
    assert np.array_equal(found, p_win(joined, entries, 1.0))
    for row in set(joined.prompt[entries].tolist()):
        assert found[joined.prompt[entries] == row].mean() == pytest.approx(0.5)


def _rows(prompts, wanted):
    """Rows in the table of prompts, which has those with an answer only."""
    present = [n for n, scores in enumerate(prompts) if scores]
    return [present.index(n) for n in wanted]


def test_aspects_of_both_scores_stand_in_the_pair_whatever_the_order_of_the_scores():
    prompts, candidates, scores = tables([*line_up(1, 2), *line_up(4, 3, prompt="q")])
    parts = {"p0": {"honest": 1.0, "short": 5.0}, "p1": {"honest": 3.0}, "q0": {}, "q1": None}
    rows = [row | {"aspects": parts[row["candidate_id"]]} for row in reversed(scores.to_pylist())]
    chunks = [pa.Table.from_pylist(some, SCORES) for some in (rows[:1], rows[1:])]
    made = pair_candidates(prompts, candidates, pa.concat_tables(chunks), PairingConfig()).pairs.to_pylist()
    assert [(row["chosen_aspects"], row["rejected_aspects"]) for row in made] == [
        ([("honest", 3.0)], [("honest", 1.0), ("short", 5.0)]),
        ([], None),
    ]
