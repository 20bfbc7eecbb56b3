"""Win rate, score difference and verdicts of two policies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.answers import ScoredAnswers
from evaluation.compare import Comparison, compare
from evaluation.schema import VERDICTS

NAN = float("nan")


def _answers(scores: dict[str, list[float]], n_tokens: float = 10.0, text: str = "An answer.") -> ScoredAnswers:
    flat = [(prompt, i, score) for prompt in sorted(scores) for i, score in enumerate(scores[prompt])]
    return ScoredAnswers(
        prompt_id=np.array([prompt for prompt, _, _ in flat], dtype=np.str_),
        sample_index=np.array([i for _, i, _ in flat]),
        text=np.array([f"{text} {prompt}{i}" for prompt, i, _ in flat], dtype=object),
        score=np.array([score for _, _, score in flat], dtype=np.float64),
        n_tokens=np.full(len(flat), n_tokens),
    )


def _compare(new: ScoredAnswers, old: ScoredAnswers, pass_score: float | None = None) -> Comparison:
    return compare(new, old, "gold", pass_score, n_bootstrap=200, seed=0)


def test_win_rate_averages_all_duels_of_a_prompt_and_then_prompts():
    new = _answers({"a": [1.0, 3.0], "b": [0.0]})
    old = _answers({"a": [2.0, 3.0], "b": [5.0]})
    result = _compare(new, old)
    # prompt a: 1 loses twice, 3 beats 2 and ties with 3 -> 1.5 of 4; prompt b: lost
    assert result.verdicts["p_win"].to_pylist() == [0.375, 0.0]
    assert result.win_rate.mean == 0.1875
    assert (result.new_mean, result.old_mean) == (1.0, 3.75)
    assert result.score_delta.mean == pytest.approx(-2.75)


def test_policy_against_its_own_answers_wins_exactly_half():
    answers = _answers({"a": [0.1, 0.7, 0.7], "b": [0.3, 0.2, 0.9], "c": [1.0, 1.0, 1.0]})
    result = _compare(answers, answers)
    assert (result.win_rate.mean, result.win_rate.low, result.win_rate.high) == (0.5, 0.5, 0.5)
    assert (result.score_delta.mean, result.length_ratio) == (0.0, 1.0)


def test_swapping_the_policies_mirrors_every_figure():
    rng = np.random.default_rng(0)
    prompts = [f"p{i:03}" for i in range(50)]
    new = _answers({p: rng.normal(0.3, 1, 4).round(1).tolist() for p in prompts}, n_tokens=12)
    old = _answers({p: rng.normal(0.0, 1, 3).round(1).tolist() for p in prompts}, n_tokens=9)
    there, back = _compare(new, old, pass_score=0.5), _compare(old, new, pass_score=0.5)
    assert back.win_rate.mean == pytest.approx(1 - there.win_rate.mean)
    assert (back.win_rate.low, back.win_rate.high) == pytest.approx((1 - there.win_rate.high, 1 - there.win_rate.low))
    assert back.score_delta.mean == pytest.approx(-there.score_delta.mean)
    assert back.score_delta.low == pytest.approx(-there.score_delta.high)
    assert (back.new_mean, back.pass_new) == (there.old_mean, there.pass_old)
    assert back.length_ratio == pytest.approx(1 / there.length_ratio)


def test_unscored_answers_are_left_out_and_counted_never_zero():
    new = _answers({"a": [1.0, NAN], "b": [NAN, NAN], "c": [2.0, 2.0]})
    old = _answers({"a": [0.5, 0.5], "b": [0.5, 0.5], "c": [NAN, 3.0]})
    result = _compare(new, old, pass_score=1.0)
    assert result.verdicts["p_win"].to_pylist() == [1.0, None, 0.0]
    assert (result.n_prompts, result.n_unscored, result.n_unscored_answers) == (2, 1, 4)
    assert (result.new_mean, result.old_mean) == (1.5, 1.75)
    assert (result.pass_new, result.pass_old) == (1.0, 0.5)


def test_pass_shares_count_answers_at_or_above_the_pass_score():
    result = _compare(_answers({"a": [1.0, 0.9], "b": [1.0, 1.0]}), _answers({"a": [0.0, 0.0], "b": [1.0, 0.0]}), 1.0)
    assert (result.pass_new, result.pass_old) == (0.75, 0.25)


def test_without_a_pass_score_there_are_no_pass_shares():
    result = _compare(_answers({"a": [1.0]}), _answers({"a": [0.0]}))
    assert (result.pass_new, result.pass_old) == (None, None)
    assert result.verdicts["new_pass"].to_pylist() == [None]


def test_prompts_answered_by_one_policy_only_are_left_out_and_counted():
    new = _answers({"a": [1.0, 2.0], "b": [NAN], "d": [0.0]})
    result = _compare(new, _answers({"a": [0.0], "c": [9.0], "d": [1.0]}), pass_score=1.0)
    alone = _compare(_answers({"a": [1.0, 2.0], "d": [0.0]}), _answers({"a": [0.0], "d": [1.0]}), pass_score=1.0)
    assert result.verdicts == alone.verdicts
    assert (result.n_one_sided, alone.n_one_sided) == (2, 0)
    assert (result.n_prompts, result.n_unscored_answers, result.old_mean) == (2, 0, 0.5)


def test_policies_without_a_prompt_in_common_raise():
    with pytest.raises(ValueError, match="no prompt was answered by both policies, 2 by one of them"):
        _compare(_answers({"b": [1.0]}), _answers({"c": [1.0]}))


def test_length_ratio_uses_tokens_and_falls_back_to_characters():
    new, old = _answers({"a": [1.0]}, 15, text="four"), _answers({"a": [1.0]}, 10, text="sixteen letters.")
    result = _compare(new, old)
    assert (result.new_length, result.old_length, result.length_ratio) == (15.0, 10.0, 1.5)
    assert result.length_unit == "tokens"
    unknown = _answers({"a": [1.0]}, NAN, text="sixteen letters.")
    fallback = _compare(new, unknown)
    assert (fallback.length_ratio, fallback.length_unit) == (7 / 19, "characters")
    assert fallback.verdicts["old_tokens"].to_pylist() == [None]


def test_length_ratio_counts_unscored_answers():
    new = ScoredAnswers(*(np.array(c) for c in (["a", "a"], [0, 1], ["x", "y"], [1.0, NAN], [10.0, 90.0])))
    assert _compare(new, _answers({"a": [1.0]}, 10)).length_ratio == 5.0


def test_verdicts_hold_the_first_answers_and_follow_the_schema():
    verdicts = _compare(_answers({"a": [1.0, 2.0]}, text="new"), _answers({"a": [0.0, 2.0]}, text="old")).verdicts
    assert verdicts.schema == VERDICTS
    assert verdicts.to_pylist() == [
        {
            "prompt_id": "a", "judge": "gold", "new_text": "new a0", "old_text": "old a0", "new_score": 1.5,
            "old_score": 1.0, "p_win": 0.625, "new_pass": None, "old_pass": None, "new_tokens": 10, "old_tokens": 10,
        }
    ]  # fmt: skip


SCORES = st.lists(st.sampled_from([0.0, 0.5, 1.0, NAN]), min_size=1, max_size=4)


@given(st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=6))
def test_counting_by_binary_search_agrees_with_playing_every_duel(prompts):
    duels = {
        f"p{i}": [float(n > o) + 0.5 * (n == o) for n in new for o in old if not np.isnan(n + o)]
        for i, (new, old) in enumerate(prompts)
    }
    new = _answers({f"p{i}": scores for i, (scores, _) in enumerate(prompts)})
    old = _answers({f"p{i}": scores for i, (_, scores) in enumerate(prompts)})
    if not any(duels.values()):
        with pytest.raises(ValueError, match="has a value"):
            _compare(new, old)
        return
    expected = [sum(played) / len(played) if played else None for played in duels.values()]
    assert _compare(new, old).verdicts["p_win"].to_pylist() == pytest.approx(expected)
