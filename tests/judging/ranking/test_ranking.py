import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judging.ranking.schedules import Duel, schedule_knockout, schedule_round_robin, schedule_swiss, seat


def play(schedule, k, judge):
    """Play all rounds; `judge` gives the first's share of the win, or None."""
    played: list[list[Duel]] = []
    while pairs := schedule(k, played):
        played.append([Duel(a, b, judge(a, b)) for a, b in pairs])
        assert len(played) < 200
    return played


def by_strength(strengths):
    return lambda a, b: 1.0 if strengths[a] > strengths[b] else 0.0


def moods(seed):
    """A judge without any order in it, ties and lost duels among its verdicts."""
    draw = random.Random(seed)
    return lambda a, b: draw.choice([0.0, 0.25, 0.5, 0.5, 0.7, 1.0, None])


def meetings(played):
    return [frozenset((duel.first, duel.second)) for past in played for duel in past]


schedules = st.one_of(st.integers(1, 12).map(schedule_swiss), st.just(schedule_knockout), st.just(schedule_round_robin))


@settings(deadline=None)
@given(schedules, st.integers(1, 17), st.integers(0, 10**6))
def test_nobody_meets_another_twice_or_itself(schedule, k, seed):
    met = meetings(play(schedule, k, moods(seed)))
    assert all(len(pair) == 2 and pair <= set(range(k)) for pair in met)
    assert len(set(met)) == len(met)


@settings(deadline=None)
@given(schedules, st.integers(1, 12), st.integers(0, 10**6))
def test_same_verdicts_give_the_same_duels(schedule, k, seed):
    assert play(schedule, k, moods(seed)) == play(schedule, k, moods(seed))


@settings(deadline=None)
@given(st.integers(2, 20), st.integers(0, 10**6), st.data())
def test_swiss_rounds_up_to_half_the_answers_leave_nobody_out_but_one_of_an_odd_number(k, seed, data):
    rounds = data.draw(st.integers(1, max(1, k // 2)))
    played = play(schedule_swiss(rounds), k, moods(seed))
    assert len(played) == rounds
    for past in played:
        seats = [seat for duel in past for seat in (duel.first, duel.second)]
        assert len(seats) == len(set(seats)) == k - k % 2


@settings(deadline=None)
@given(st.integers(1, 7).map(lambda half: 2 * half + 1), st.integers(0, 10**6))
def test_nobody_sits_out_a_second_time_before_all_have_once(k, seed):
    played = play(schedule_swiss(k // 2), k, moods(seed))
    out = [(set(range(k)) - {seat for duel in past for seat in (duel.first, duel.second)}).pop() for past in played]
    assert len(set(out)) == len(out)


def test_swiss_winners_meet_winners_and_losers_losers():
    played = play(schedule_swiss(3), 8, by_strength([0, 1, 2, 3, 4, 5, 6, 7]))
    second = [{played[0][i // 2] for i in (duel.first, duel.second)} for duel in played[1]]
    assert all(len(first_duels) == 2 for first_duels in second)
    won = {max(duel.first, duel.second) for duel in played[0]}
    assert all((duel.first in won) == (duel.second in won) for duel in played[1])
    twice = {7, 3}
    assert {frozenset((duel.first, duel.second)) & twice for duel in played[2]} == {frozenset(twice), frozenset()}


def test_swiss_soft_wins_bring_together_who_is_closest():
    first = [Duel(0, 1, 0.9), Duel(2, 3, 0.8), Duel(4, 5, 0.55)]
    pairs = {frozenset(pair) for pair in schedule_swiss(3)(6, [first])}
    assert pairs == {frozenset({0, 2}), frozenset({4, 3}), frozenset({5, 1})}


def test_swiss_lowest_sits_out_and_scores_half_for_it():
    first = [Duel(0, 1, 1.0), Duel(2, 3, 1.0)]
    second = schedule_swiss(3)(5, [first])
    assert {0, 2} in [set(pair) for pair in second]
    assert 3 not in {seat for pair in second for seat in pair}
    assert {4, 1} in [set(pair) for pair in second]


def test_swiss_breaks_up_a_pair_for_two_who_have_met():
    first = [Duel(0, 1, 1.0), Duel(2, 3, 1.0)]
    second = [Duel(0, 2, 1.0), Duel(1, 3, 1.0)]
    assert {frozenset(pair) for pair in schedule_swiss(3)(4, [first, second])} == {frozenset({0, 3}), frozenset({1, 2})}
    top = [Duel(0, 1, 1.0), Duel(2, 3, 1.0), Duel(4, 5, 1.0)]
    bottom = [Duel(0, 2, 1.0), Duel(1, 4, 0.0), Duel(3, 5, 1.0)]
    third = {frozenset(pair) for pair in schedule_swiss(3)(6, [top, bottom])}
    assert len(third) == 3
    assert third.isdisjoint(meetings([top, bottom]))


def test_more_swiss_rounds_than_opponents_end_as_a_round_robin():
    played = play(schedule_swiss(100), 4, moods(0))
    assert set(meetings(played)) == {frozenset(pair) for pair in itertools.combinations(range(4), 2)}


@settings(deadline=None)
@given(st.integers(2, 25).flatmap(lambda k: st.permutations(range(k))))
def test_knockout_finds_best_and_worst_in_the_fewest_duels(strengths):
    k = len(strengths)
    played = play(schedule_knockout, k, by_strength(strengths))
    duels = [duel for past in played for duel in past]
    assert len(duels) == math.ceil(3 * k / 2) - 2
    lost = {duel.second if duel.win == 1 else duel.first for duel in duels}
    won = {duel.first if duel.win == 1 else duel.second for duel in duels}
    assert set(range(k)) - lost == {strengths.index(k - 1)}
    assert set(range(k)) - won == {strengths.index(0)}


@settings(deadline=None)
@given(st.integers(2, 25), st.integers(0, 10**6))
def test_knockout_takes_as_many_duels_with_ties_and_lost_ones(k, seed):
    assert len(meetings(play(schedule_knockout, k, moods(seed)))) == math.ceil(3 * k / 2) - 2


def test_round_robin_lets_each_meet_each_in_one_round():
    played = play(schedule_round_robin, 5, moods(1))
    assert len(played) == 1
    assert set(meetings(played)) == {frozenset(pair) for pair in itertools.combinations(range(5), 2)}


@pytest.mark.parametrize("schedule", [schedule_swiss(3), schedule_knockout, schedule_round_robin])
def test_one_answer_alone_plays_nobody(schedule):
    assert schedule(1, []) == []


@given(st.lists(st.text(max_size=8), unique=True, max_size=12), st.integers(0, 9), st.randoms(use_true_random=False))
def test_seats_do_not_depend_on_the_order_of_the_rows(ids, seed, random):
    shuffled = random.sample(ids, len(ids))
    assert [ids[place] for place in seat(ids, seed)] == [shuffled[place] for place in seat(shuffled, seed)]


def test_seats_depend_on_the_seed():
    ids = [f"c{number}" for number in range(8)]
    assert len({tuple(seat(ids, seed)) for seed in range(20)}) == 20
