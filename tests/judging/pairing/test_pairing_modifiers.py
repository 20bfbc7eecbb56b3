"""The conditions under which a couple of answers may be a pair, each with the reason that the ledger gives."""

import math

import pytest
from pydantic import ValidationError

from judging.config import PairingConfig
from judging.pairing.pairing import explain_no_pairs
from judging.pairing.pairing_config import RULE_NAMES, fields_for
from tests.judging.answers_to_pair import Answer, ids, line_up, pair, prompt_drops, vary


def test_largest_margin_bounds_what_best_worst_rejects():
    assert ids(pair(line_up(5, 3, 0), max_margin=2)) == [("p0", "p1")]
    assert prompt_drops(pair(line_up(5, 0), max_margin=2)) == {"p": ("max_margin", 5.0, 2.0)}


def test_margins_as_probabilities_go_through_the_slope():
    # sigmoid(0.5 * 1) = 0.622, sigmoid(0.5 * 4) = 0.881, sigmoid(0.5 * 6) = 0.953
    fields = {"margin_unit": "probability", "slope": 0.5}
    answers = line_up(6, 5, 2, 0)
    assert ids(pair(answers, **fields, max_margin=0.9)) == [("p0", "p2")]
    assert ids(pair(answers, **fields, rule="best_second", min_margin=0.6)) == [("p0", "p1")]
    assert ids(pair(answers, **fields, rule="best_second", min_margin=0.65)) == [("p0", "p2")]


def test_margin_in_the_ledger_has_the_unit_of_the_threshold():
    made = pair(line_up(1, 0), margin_unit="probability", min_margin=0.8)
    assert prompt_drops(made) == {"p": ("min_margin", pytest.approx(1 / (1 + math.exp(-1))), 0.8)}
    message = explain_no_pairs(made.drops)
    assert "1 have a margin of at most judging.pairing.min_margin 0.8, the largest margin is 0.73" in message


def test_tie_is_a_probability_of_a_half():
    made = pair(line_up(1, 1), margin_unit="probability")
    assert prompt_drops(made) == {"p": ("tied", 0.5, 0.5)}
    assert "1 are tied: every candidate of a prompt got the same score" in explain_no_pairs(made.drops)


def test_pairs_keep_the_difference_of_scores_as_their_margin():
    assert pair(line_up(3, 1), margin_unit="probability").pairs["margin"].to_pylist() == [2.0]


def test_answer_that_was_cut_off_is_not_chosen_but_may_be_rejected():
    answers = vary(line_up(3, 2, 1), finish=["length", "stop", "length"])
    assert ids(pair(answers)) == [("p1", "p2")]
    assert ids(pair(answers, chosen_must_finish=False)) == [("p0", "p2")]


def test_unknown_finish_reason_passes():
    assert ids(pair(vary(line_up(3, 1), finish=[None, "length"]))) == [("p0", "p1")]


def test_prompt_whose_better_answers_were_all_cut_off_says_so():
    answers = vary(line_up(3, 2, 1), finish=["length", "length", "stop"])
    made = pair(answers)
    assert prompt_drops(made) == {"p": ("truncated", None, None)}
    assert "1 have no finished answer that is better" in explain_no_pairs(made.drops)


def test_best_of_a_bad_lot_is_not_chosen():
    answers = [*line_up(0.4, 0.1, prompt="bad"), *line_up(0.9, 0.1, prompt="good")]
    made = pair(answers, min_chosen_score=0.5)
    assert ids(made) == [("good0", "good1")]
    assert prompt_drops(made) == {"bad": ("low_score", 0.4, 0.5)}


def test_length_band_takes_the_worst_within_it():
    answers = vary(line_up(3, 2, 1, 0), text=["a" * 10, "b" * 14, "c" * 6, "d" * 30])
    assert ids(pair(answers, length_band=0.4)) == [("p0", "p2")]
    assert ids(pair(answers, length_band=0.39)) == []
    assert prompt_drops(pair(answers[:1] + answers[3:], length_band=0.4)) == {"p": ("length_band", 2.0, 0.4)}


def test_reason_speaks_of_the_rule_only_where_another_rule_finds_a_pair():
    answers = vary(line_up(3, 2, 1), text=["a" * 10, "b" * 40, "c" * 40])
    assert ids(pair(answers, length_band=0.4, rule="all_pairs")) == [("p1", "p2")]
    assert prompt_drops(pair(answers, length_band=0.4)) == {"p": ("length_band", 3.0, 0.4)}


def test_one_side_is_of_the_policy_that_is_trained():
    answers = vary(line_up(3, 2, 1, 0), policy=["theirs", "ours", "theirs", "theirs"])
    assert ids(pair(answers, {"ours"}, require_on_policy=True)) == [("p0", "p1")]
    ours_best = vary(answers, policy=["ours", "theirs", "theirs", None])
    assert ids(pair(ours_best, {"ours"}, require_on_policy=True)) == [("p0", "p3")]
    elsewhere = vary(line_up(1, 0, prompt="q"), policy=["theirs", "theirs"])
    made = pair([*answers, *elsewhere], {"ours"}, require_on_policy=True)
    assert prompt_drops(made) == {"q": ("off_policy", None, None)}


def test_policy_must_be_named_and_must_be_there():
    answers = vary(line_up(1, 0), policy=["theirs", "theirs"])
    with pytest.raises(ValueError, match="say which policy is trained; those of the candidates are theirs"):
        pair(answers, require_on_policy=True)
    with pytest.raises(ValueError, match="no candidate is of ours; their policies are theirs"):
        pair(answers, {"ours"}, require_on_policy=True)


def test_one_text_is_never_both_sides():
    answers = [Answer("a", 2.0, "same"), Answer("b", 1.0, "same", index=1)]
    for rule in RULE_NAMES:
        fields = {"pass_score": 1.5} if rule == "correct_incorrect" else {}
        assert prompt_drops(pair(answers, rule=rule, **fields)) == {"p": ("same_text", None, None)}
    other = Answer("c", 1.5, "else", index=2)
    assert ids(pair([*answers, other])) == [("a", "c")]


def test_equal_texts_of_other_prompts_are_no_matter():
    answers = [Answer("a", 2.0, "same", "p"), Answer("b", 1.0, "else", "p"), Answer("c", 2.0, "same", "q"),
               Answer("d", 1.0, "else", "q")]  # fmt: skip
    assert ids(pair(answers)) == [("a", "b"), ("c", "d")]


def test_random_tie_rule_does_not_look_at_length():
    answers = [
        Answer(f"q{n:03}{side}", score, side * length, f"q{n:03}")
        for n in range(100)
        for side, score, length in (("s", 1.0, 1), ("l", 1.0, 9), ("w", 0.0, 5))
    ]
    chosen = [chosen[-1] for chosen, _ in ids(pair(answers, tie_rule="random"))]
    assert 30 < chosen.count("l") < 70
    assert {chosen[-1] for chosen, _ in ids(pair(answers))} == {"s"}


def test_infinite_score_is_an_error():
    with pytest.raises(ValueError, match="score of candidate p1 is infinite"):
        pair(line_up(1, math.inf))


@pytest.mark.parametrize(
    ("reason", "fields", "answers", "advice"),
    [
        ("all_correct", {"rule": "correct_incorrect"}, line_up(1, 0.9), "take harder prompts"),
        ("none_correct", {"rule": "correct_incorrect"}, line_up(0.2, 0), "take easier prompts"),
        ("low_score", {"min_chosen_score": 9}, line_up(1, 0), "judging.pairing.min_chosen_score: lower it"),
        ("max_margin", {"max_margin": 1}, line_up(5, 0), "above judging.pairing.max_margin only: raise it"),
        ("length_band", {"length_band": 0}, [Answer("a", 1.0, "a"), Answer("b", 0.0, "bb")], "length_band only"),
        ("same_text", {}, [Answer("a", 1.0, "a"), Answer("b", 0.0, "a")], "the judge is noisy"),
    ],
)
def test_explanation_names_the_field_to_change(reason, fields, answers, advice):
    made = pair(answers, **fields)
    assert [row[0] for row in prompt_drops(made).values()] == [reason]
    assert advice in explain_no_pairs(made.drops)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_margin": 2, "max_margin": 1}, "max_margin 1.0 is not above min_margin 2.0"),
        ({"margin_unit": "probability", "min_margin": 1.5}, "min_margin 1.5 is no probability below 1"),
        ({"margin_unit": "probability", "max_margin": 0.4}, "max_margin 0.4 is no probability above 0.5"),
        ({"rule": "correct_incorrect", "length_control": "fitted"}, "only asks whether they pass"),
        ({"top_share": 0.1}, "top_share is for rule top_p, not for best_worst"),
        ({"rule": "top_p", "top_share": 0.6}, "less than or equal to 0.5"),
        ({"max_pairs": 3}, "max_pairs is for rule correct_incorrect and top_p and all_pairs, not for best_worst"),
        ({"rule": "best"}, "Input should be 'best_worst', 'mu_minus_2sigma'"),
        ({"slope": math.nan}, "finite"),
    ],
)
def test_config_says_what_does_not_go_together(fields, message):
    with pytest.raises(ValidationError, match=message):
        PairingConfig(**fields)


def test_fields_of_one_rule_serve_another_without_those_it_does_not_read():
    fields = {"rule": "top_p", "top_share": 0.1, "max_pairs": 3, "min_margin": 1, "length_control": "fitted"}
    for rule in RULE_NAMES:
        config = PairingConfig(**fields_for(rule, fields))
        assert (config.rule, config.min_margin) == (rule, 1)
    assert PairingConfig(**fields_for("all_pairs", fields)).max_pairs == 3
