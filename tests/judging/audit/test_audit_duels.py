"""Duels read back from what a judge of pairs keeps."""

import json

import numpy as np
import pytest

from judging.audit.audit_duels import read_duels
from judging.audit.audit_measures import measure_position


def _record(*duels):
    return json.dumps(
        [{"against": a, "order": order, "win": win, "reason": None, "reply": "A"} for a, order, win in duels]
    )


def test_a_duel_stands_in_both_records_and_is_read_once():
    # a is better: it wins .8 shown first, and b wins .3 shown first.
    records = [
        ("a", _record(("b", "first", 0.8), ("b", "second", 0.7))),
        ("b", _record(("a", "second", 0.2), ("a", "first", 0.3))),
    ]
    duels = read_duels(records)
    assert duels.ids == ["a"]
    assert duels.first_wins == pytest.approx([0.8])
    assert duels.first_wins_swapped == pytest.approx([0.3])


def test_a_biased_judges_records_give_its_bias():
    records = [
        (f"{i}a", _record((f"{i}b", "first", 1.0), (f"{i}b", "second", 0.0))) for i in range(4)
    ]  # whoever is shown first wins
    duels = read_duels(records)
    position = measure_position(np.arange(4), duels.first_wins, duels.first_wins_swapped)
    assert (position.consistent.value, position.first_preferred.value) == (0, 1)


def test_answers_without_a_record_and_lost_verdicts_are_kept_apart():
    duels = read_duels([("a", None), ("b", _record(("c", "first", None), ("c", "second", 1.0)))])
    assert duels.ids == ["b"]
    assert np.isnan(duels.first_wins).all()
    assert duels.first_wins_swapped.tolist() == [0.0]
