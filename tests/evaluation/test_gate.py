"""The gate's decisions, and how often it is wrong."""

import numpy as np
import pytest
from pydantic import ValidationError

from evaluation.answers import ScoredAnswers
from evaluation.compare import Comparison, compare
from evaluation.config import GateConfig
from evaluation.gate import decide

DEMO, STANDARD = GateConfig(preset="demo"), GateConfig(preset="standard")


def _comparison(
    new: np.ndarray, old: np.ndarray, judge: str = "gold", new_tokens: float = 10, old_tokens: float = 10, seed: int = 0
) -> Comparison:
    return compare(_answers(new, new_tokens), _answers(old, old_tokens), judge, None, n_bootstrap=200, seed=seed)


def _answers(score: np.ndarray, n_tokens: float) -> ScoredAnswers:
    return ScoredAnswers(
        prompt_id=np.array([f"p{i:05}" for i in range(score.size)]),
        sample_index=np.zeros(score.size, np.int32),
        text=np.full(score.size, "text", dtype=object),
        score=score.astype(np.float64),
        n_tokens=np.full(score.size, float(n_tokens)),
    )


def _won(n_won: int, n_lost: int, **extra) -> Comparison:
    won = np.repeat([1.0, 0.0], [n_won, n_lost])
    return _comparison(won, 1 - won, **extra)


def test_clear_winner_passes_the_standard_gate_without_warning():
    decision = decide(_won(400, 200), _won(400, 200, judge="reward"), STANDARD)
    assert (decision.decision, decision.goodhart, decision.warnings) == ("pass", False, [])
    assert "0.667 [0.6" in decision.reasons[0]
    assert decision.figures["win_rate"] == pytest.approx(2 / 3)


def test_winner_inside_the_noise_is_kept_out_by_the_standard_gate_only():
    judge, annotator = _won(52, 48), _won(60, 40, judge="reward")
    refused = decide(judge, annotator, STANDARD)
    assert refused.decision == "keep"
    assert len(refused.reasons) == 1
    assert "its lower end is not above 0.5" in refused.reasons[0]
    assert decide(judge, annotator, DEMO).decision == "pass"


def test_equal_policies_are_kept_out_by_both_presets():
    even = _won(50, 50)
    assert decide(even, _won(50, 50, judge="reward"), DEMO).decision == "keep"
    assert decide(even, _won(50, 50, judge="reward"), STANDARD).decision == "keep"


@pytest.mark.parametrize(("new_tokens", "fate"), [(12.5, "pass"), (12.6, "keep"), (8.0, "pass"), (7.9, "keep")])
def test_longer_or_shorter_policy_is_refused_by_the_length_bounds(new_tokens, fate):
    decision = decide(_won(500, 100, new_tokens=new_tokens), _won(500, 100, judge="reward"), STANDARD)
    assert decision.decision == fate


def test_policy_that_is_only_longer_is_refused_though_a_judge_prefers_length():
    decision = decide(_won(600, 0, new_tokens=25), _won(600, 0, judge="reward"), STANDARD)
    assert decision.decision == "keep"
    assert decision.reasons == ["New answers are 2.50 times as long as the old ones in tokens, outside [0.8, 1.25]."]


@pytest.mark.parametrize("config", [DEMO, STANDARD])
def test_annotator_up_and_judge_significantly_down_raises_the_goodhart_flag(config):
    decision = decide(_won(240, 360), _won(500, 100, judge="reward"), config)
    assert (decision.decision, decision.goodhart) == ("keep", True)
    assert "The annotator is being gamed: reward rose" in decision.reasons[-1]


def test_judge_down_within_the_noise_raises_no_flag():
    assert not decide(_won(49, 51), _won(90, 10, judge="reward"), STANDARD).goodhart


def test_both_down_is_a_bad_round_but_not_goodhart():
    decision = decide(_won(100, 500), _won(100, 500, judge="reward"), STANDARD)
    assert (decision.decision, decision.goodhart) == ("keep", False)


def test_annotator_as_its_own_judge_is_warned_about():
    decision = decide(_won(500, 100), _won(500, 100), STANDARD, same_judge=True)
    assert decision.decision == "pass"
    assert "gold labelled the training pairs and judges the result" in decision.warnings[0]


def test_two_judges_of_one_name_are_not_taken_for_one():
    few, many = np.repeat([1.0, np.nan], [600, 7]), np.repeat([1.0, np.nan], [600, 9])
    decision = decide(_comparison(few, np.zeros(607)), _comparison(many, np.zeros(609)), STANDARD)
    assert decision.warnings == [
        "gold left 7 answers unscored; 7 prompts were left out for it.",
        "gold left 9 answers unscored; 9 prompts were left out for it.",
    ]


def test_prompts_that_one_policy_alone_answered_are_warned_about():
    judge = _comparison(np.ones(603), np.zeros(600))
    assert decide(judge, _won(600, 0, judge="reward"), STANDARD).warnings == [
        "3 prompts were answered by one policy only and left out."
    ]


def test_few_prompts_are_warned_about_by_the_standard_gate():
    judge, annotator = _won(90, 10), _won(90, 10, judge="reward")
    assert "100 prompts are few" in decide(judge, annotator, STANDARD).warnings[0]
    assert decide(judge, annotator, DEMO).warnings == []


def test_unscored_answers_are_warned_about():
    new = np.repeat([1.0, np.nan], [600, 7])
    decision = decide(_comparison(new, np.zeros(607)), _won(400, 207, judge="reward"), STANDARD)
    assert decision.warnings == ["gold left 7 answers unscored; 7 prompts were left out for it."]


def test_length_bounds_in_the_wrong_order_are_refused():
    with pytest.raises(ValidationError, match=r"min_length_ratio 1.3 is above max_length_ratio 1.25"):
        GateConfig(min_length_ratio=1.3)


def _accepted_share(p_win: float, p_tie: float, n_prompts: int, n_gates: int) -> float:
    rng = np.random.default_rng(20)
    accepted = 0
    for gate in range(n_gates):
        drawn = rng.choice([1.0, 0.0, -1.0], size=n_prompts, p=[p_win, p_tie, 1 - p_win - p_tie])
        comparison = _comparison(drawn, np.zeros(n_prompts), seed=gate)
        accepted += decide(comparison, comparison, STANDARD).decision == "pass"
    return accepted / n_gates


def test_policy_against_itself_passes_at_most_one_gate_in_twenty():
    # the interval's lower end is exceeded by chance in 2.5 % of gates; three standard errors of 1,000 gates are 1.5 %
    assert _accepted_share(p_win=0.5, p_tie=0.0, n_prompts=617, n_gates=1000) <= 0.04


def test_policy_that_wins_55_percent_with_a_fifth_tied_passes_four_gates_in_five():
    assert _accepted_share(p_win=0.45, p_tie=0.2, n_prompts=617, n_gates=400) == pytest.approx(0.79, abs=0.06)


def test_policy_that_wins_55_percent_without_ties_passes_seven_gates_in_ten():
    assert _accepted_share(p_win=0.55, p_tie=0.0, n_prompts=617, n_gates=400) == pytest.approx(0.70, abs=0.07)
