import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judging.ranking.bradley_terry import find_standard_errors, fit_strengths


@st.composite
def matrices(draw, max_k=7):
    """Wins with halves and fractions, many pairs without a duel."""
    k = draw(st.integers(1, max_k))
    number = st.one_of(st.just(0.0), st.integers(0, 6).map(lambda n: n / 2), st.floats(0, 3))
    rows = draw(st.lists(st.lists(number, min_size=k, max_size=k), min_size=k, max_size=k))
    return np.array(rows)


def pairs(**wins: tuple[float, float]) -> np.ndarray:
    """Wins of items A to D, given as AB=(wins of A, wins of B)."""
    matrix = np.zeros((4, 4))
    for names, (won, lost) in wins.items():
        one, other = ("ABCD".index(name) for name in names)
        matrix[one, other], matrix[other, one] = won, lost
    return matrix


def test_strengths_are_those_that_arena_rank_publishes_for_its_fixture():
    wins = pairs(AB=(2, 3), AD=(1, 4), BC=(5, 3), CD=(1, 3))
    assert np.exp(fit_strengths(wins, prior=0)) == pytest.approx([0.640, 1.043, 0.660, 2.270], abs=5e-4)


def test_two_items_without_a_prior_have_the_odds_of_their_wins():
    logs = fit_strengths(np.array([[0.0, 6.0], [2.0, 0.0]]), prior=0)
    assert logs[0] - logs[1] == pytest.approx(np.log(3))


def test_prior_counts_as_wins_both_ways():
    logs = fit_strengths(np.array([[0.0, 1.0], [0.0, 0.0]]), prior=0.1)
    assert logs[0] - logs[1] == pytest.approx(np.log(1.1 / 0.1))


@settings(deadline=None)
@given(matrices(), st.randoms(use_true_random=False))
def test_order_of_the_items_changes_nothing(wins, random):
    order = random.sample(range(len(wins)), len(wins))
    assert fit_strengths(wins[np.ix_(order, order)]) == pytest.approx(fit_strengths(wins)[order], abs=1e-6)


@settings(deadline=None)
@given(matrices())
def test_strengths_solve_the_equations_of_the_maximum(wins):
    logs = fit_strengths(wins, prior=0.1)
    assert logs.sum() == pytest.approx(0, abs=1e-9)
    played = (wins + 0.1) * (1 - np.eye(len(wins)))
    expected = (played + played.T) / (1 + np.exp(logs[None, :] - logs[:, None]))
    np.fill_diagonal(expected, 0)
    assert expected.sum(axis=1) == pytest.approx(played.sum(axis=1), abs=1e-5)


@settings(deadline=None)
@given(matrices().filter(lambda wins: len(wins) > 1), st.floats(0.1, 3), st.data())
def test_one_more_win_makes_no_item_weaker_against_any_other(wins, more, data):
    one, other = data.draw(st.permutations(range(len(wins))))[:2]
    before = fit_strengths(wins)
    wins[one, other] += more
    after = fit_strengths(wins)
    assert (after[one] - after >= before[one] - before - 1e-6).all()
    assert after[one] - after[other] > before[one] - before[other]


@settings(deadline=None)
@given(matrices())
def test_turning_all_duels_round_turns_the_strengths_round(wins):
    assert fit_strengths(wins.T) == pytest.approx(-fit_strengths(wins), abs=1e-6)


def test_many_prompts_at_once_are_fitted_as_each_alone():
    wins = np.random.default_rng(0).integers(0, 3, (5, 2, 4, 4)).astype(float)
    together = fit_strengths(wins)
    assert together.shape == (5, 2, 4)
    assert together[3, 1] == pytest.approx(fit_strengths(wins[3, 1]), abs=1e-6)
    errors = find_standard_errors(wins, together)
    assert errors[3, 1] == pytest.approx(find_standard_errors(wins[3, 1], together[3, 1]), abs=1e-6)


def test_wins_over_itself_do_not_count():
    wins = np.array([[5.0, 1.0], [2.0, 7.0]])
    assert fit_strengths(wins) == pytest.approx(fit_strengths(wins * (1 - np.eye(2))))


def test_undefeated_and_unbeaten_items_stay_finite_with_a_prior():
    wins = np.triu(np.ones((16, 16)), 1)
    logs = fit_strengths(wins)
    assert np.isfinite(logs).all()
    assert (np.diff(logs) < 0).all()


def test_groups_that_never_met_are_ranked_with_a_prior():
    logs = fit_strengths(pairs(AB=(1, 0), CD=(0, 1)))
    assert logs[[0, 3]] == pytest.approx(-logs[[1, 2]])


def test_one_item_has_strength_one():
    assert fit_strengths(np.zeros((1, 1))).tolist() == [0]
    assert find_standard_errors(np.zeros((1, 1)), np.zeros(1)).tolist() == [0]


def test_standard_error_of_two_items_is_that_of_a_log_odds():
    wins = np.array([[0.0, 80.0], [20.0, 0.0]])
    logs = fit_strengths(wins, prior=0)
    # the difference of the two, each half of it: sqrt(1 / (n p (1 - p))) / 2
    assert find_standard_errors(wins, logs, prior=0) == pytest.approx([1 / np.sqrt(100 * 0.8 * 0.2) / 2] * 2)


def test_standard_errors_are_the_spread_of_refitted_draws():
    rng = np.random.default_rng(1)
    true = np.array([-0.6, 0.0, 0.1, 0.5])
    chance = 1 / (1 + np.exp(true[None, :] - true[:, None]))
    upper = np.triu(rng.binomial(40, chance, (3000, 4, 4)), 1)
    wins = upper + np.swapaxes(np.triu(40 - upper, 1), 1, 2)
    fitted = fit_strengths(wins.astype(float), prior=0.1)
    errors = find_standard_errors(wins.astype(float), fitted, prior=0.1)
    assert errors.mean(axis=0) == pytest.approx(fitted.std(axis=0), rel=0.05)


@pytest.mark.parametrize(
    ("wins", "prior", "message"),
    [
        (np.zeros((2, 3)), 0.1, r"shape \(\.\.\., k, k\).*\(2, 3\)"),
        (np.zeros(4), 0.1, "shape"),
        (np.zeros((0, 0)), 0.1, "k >= 1"),
        (np.array([[0.0, -1.0], [1.0, 0.0]]), 0.1, "not negative"),
        (np.array([[0.0, np.nan], [1.0, 0.0]]), 0.1, "finite"),
        (np.array([[0.0, 1.0], [1.0, 0.0]]), -0.1, "prior must be at least 0, got -0.1"),
        (np.array([[0.0, 1.0], [0.0, 0.0]]), 0.0, "set prior > 0"),
        (pairs(AB=(1, 1), CD=(1, 1)), 0.0, "set prior > 0"),
        (pairs(AB=(1, 1), BC=(1, 1), CD=(3, 0)), 0.0, "set prior > 0"),
    ],
)
def test_what_has_no_finite_fit_is_refused(wins, prior, message):
    with pytest.raises(ValueError, match=message):
        fit_strengths(wins, prior)
