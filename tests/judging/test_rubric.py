"""The rubric judge: what it makes of the replies."""

import json
import math
from collections.abc import Callable

import pytest

from judging.asking.chat import Question, Reply
from judging.asking.scripted_model import ScriptedModel, reply_texts, reply_token
from tests.judging.chat_judges import always, aspects, in_turn, item, rate, rubric_config


def logs(**shares: float) -> dict[str, float]:
    return {name.strip("_"): math.log(share) for name, share in shares.items()}


class Kept:
    """Replies in memory."""

    def __init__(self) -> None:
        self.held: dict[str, Reply] = {}

    def get(self, question: Question) -> Reply | None:
        return self.held.get(repr(question))

    def put(self, question: Question, reply: Reply) -> None:
        self.held[repr(question)] = reply

    def forget(self, question: Question) -> None:
        self.held.pop(repr(question), None)

    def keep_unread(self) -> None:
        return None


def test_expected_score_spread_and_mass_become_score_uncertainty_and_aspects():
    model = ScriptedModel(lambda _: reply_token(logs(_3=0.45, _4=0.45, Well=0.1)))
    [verdict] = rate(rubric_config(verdict="expected"), model, item())
    assert (verdict.score, verdict.uncertainty) == pytest.approx((3.5, 0.5))
    assert verdict.aspects == pytest.approx({"helpfulness": 3.5, "helpfulness.mass": 0.9})
    assert (verdict.raw_reply, verdict.n_tokens_in, verdict.n_tokens_out, verdict.rationale) == ("3", 7, 1, None)


def test_too_little_mass_on_ratings_is_unscored_with_the_mass_kept():
    model = ScriptedModel(lambda _: reply_token(logs(_4=0.7, The=0.3)))
    [verdict] = rate(rubric_config(verdict="expected"), model, item())
    assert (verdict.score, verdict.reason) == (None, "mass")
    assert verdict.aspects == pytest.approx({"helpfulness.mass": 0.7})


@pytest.mark.parametrize(("min_mass", "score"), [(0.7, 4.0), (0.71, None), (0.0, 4.0)])
def test_min_mass_is_the_least_that_counts(min_mass, score):
    model = ScriptedModel(lambda _: reply_token(logs(_4=0.7, The=0.3)))
    assert rate(rubric_config(verdict="expected", min_mass=min_mass), model, item())[0].score == score


def test_constrained_verdict_is_unscored_where_the_server_ignores_the_constraint():
    config = rubric_config(verdict="expected", constrained=True)
    masked = {"1": -9999.0, "2": -9999.0, "The": -9999.0}
    model = ScriptedModel(lambda _: reply_token(logs(_3=0.5, _4=0.5) | masked))
    assert rate(config, model, item())[0].score == pytest.approx(3.5)
    for said in ({"The": -0.1}, logs(The=0.9, _5=0.1)):
        ignorant = ScriptedModel(lambda _, said=said: reply_token(said))
        assert rate(config, ignorant, item())[0].reason == "mass"


@pytest.mark.parametrize("reply", [reply_texts("4"), Reply([], "no_logprobs", "not supported")])
def test_model_without_log_probs_ends_the_run_and_names_the_way_out(reply):
    kept = Kept()
    with pytest.raises(ValueError, match=r"verdict expected needs log-probs, and my server gives none.*n_samples"):
        rate(rubric_config(verdict="expected"), ScriptedModel(lambda _: reply, "my server"), item(), replies=kept)
    assert kept.held == {}


def test_one_answer_without_log_probs_among_others_is_unscored_and_ends_no_run():
    model = in_turn(reply_token(logs(_4=1.0)), reply_texts("4"), Reply([], "no_logprobs", "'4'"))
    verdicts = rate(rubric_config(verdict="expected"), model, item(), item(), item())
    assert sorted((verdict.score or 0, verdict.reason or "") for verdict in verdicts) == [
        (0, "no_logprobs"), (0, "no_logprobs"), (4, "")
    ]  # fmt: skip


@pytest.mark.parametrize("reason", ["budget", "timeout"])
def test_rationale_stays_stored_where_its_rating_has_no_reply(reason):
    kept, config = Kept(), rubric_config(verdict="expected", rationale=True)
    [verdict] = rate(config, in_turn(reply_texts("It adds up."), Reply([], reason)), item(), replies=kept)
    assert verdict.reason == reason
    [verdict] = rate(config, in_turn(reply_token(logs(_4=1.0))), item(), replies=kept)
    assert (verdict.score, verdict.rationale) == (4, "It adds up.")


def test_empty_or_filtered_reply_is_no_sign_of_a_model_without_log_probs():
    model = in_turn(reply_texts(""), reply_texts("", finish_reason="content_filter"))
    verdicts = rate(rubric_config(verdict="expected"), model, item(), item())
    assert [verdict.reason for verdict in verdicts] == ["empty_reply", "content_filter"]


def test_rationale_comes_first_and_the_rating_after_it_in_the_same_conversation():
    def answer(question: Question) -> Reply:
        return (
            reply_token(logs(_2=1.0))
            if question.top_logprobs
            else reply_texts("<think>Score: 5</think> It is <|eos|> thin.")
        )

    model = ScriptedModel(answer)
    [verdict] = rate(rubric_config(verdict="expected", rationale=True, temperature=0.7), model, item())
    first, second = model.asked
    assert (first.max_new_tokens, first.temperature, first.top_logprobs) == (512, 0.7, 0)
    assert (second.max_new_tokens, second.temperature, second.top_logprobs) == (1, 0.0, 20)
    assert second.messages[:2] == first.messages
    assert second.messages[2] == {"role": "assistant", "content": "It is < |eos|> thin."}
    assert "from 1 to 5" in second.messages[3]["content"]
    assert (verdict.score, verdict.rationale) == (2.0, "It is <|eos|> thin.")
    assert json.loads(verdict.raw_reply or "") == ["<think>Score: 5</think> It is <|eos|> thin.", "2"]
    assert (verdict.n_tokens_in, verdict.n_tokens_out) == (14, 4)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (reply_texts(""), "empty_reply"),
        (reply_texts("<think>hm", finish_reason="length"), "truncated"),
        (reply_texts("No.", finish_reason="content_filter"), "content_filter"),
        (Reply([], "timeout"), "timeout"),
    ],
)
def test_no_rationale_no_question_about_the_rating(reply, reason):
    model = in_turn(reply)
    [verdict] = rate(rubric_config(verdict="expected", rationale=True), model, item())
    assert (verdict.score, verdict.reason, len(model.asked)) == (None, reason, 1)


def test_rationale_cut_off_still_serves():
    model = in_turn(reply_texts("It is rather", finish_reason="length"), reply_token({"3": 0.0}))
    assert rate(rubric_config(verdict="expected", rationale=True), model, item())[0].score == 3


def test_verdict_carries_rationale_reply_and_tokens():
    [verdict] = rate(rubric_config(), always("Right.\nScore: 5"), item())
    assert (verdict.score, verdict.rationale, verdict.raw_reply) == (5, "Right.", "Right.\nScore: 5")
    assert (verdict.n_tokens_in, verdict.n_tokens_out, verdict.aspects) == (7, 3, {"helpfulness": 5})
    assert verdict.uncertainty is None


def sampled(n: int, **fields):
    return rubric_config(n_samples=n, temperature=1.0, **fields)


def test_samples_are_averaged_with_their_spread():
    [verdict] = rate(sampled(4), always("a\nScore: 5", "b\nScore: 3", "Score: 3", "Score: 5"), item())
    assert (verdict.score, verdict.uncertainty, verdict.rationale) == (4.0, 1.0, "a")
    assert json.loads(verdict.raw_reply or "") == ["a\nScore: 5", "b\nScore: 3", "Score: 3", "Score: 5"]


def test_samples_without_a_rating_do_not_count_if_at_least_half_have_one():
    [verdict] = rate(sampled(4), always("well", "x\nScore: 4", "Score: 9", "Score: 2"), item())
    assert (verdict.score, verdict.uncertainty, verdict.rationale) == (3.0, 1.0, "x")


def test_with_fewer_than_half_the_commonest_reason_is_given():
    [verdict] = rate(sampled(5), always("Score: 4", "Score: 9", "well", "Score: 7", "Score: 4"), item())
    assert (verdict.score, verdict.reason) == (None, "out_of_range")


def test_samples_that_were_not_given_count_as_having_no_rating():
    assert rate(sampled(4), always("Score: 4"), item())[0].reason == "missing_samples"
    assert rate(sampled(4), always("Score: 4", "Score: 5"), item())[0].score == 4.5


@pytest.mark.parametrize("verdict", ["written", "json"])
@pytest.mark.parametrize(
    ("text", "finish_reason", "reason"),
    [
        ("Good.\nScore: 1", "length", "truncated"),
        ('{"rationale": "a", "score": 1}', "length", "truncated"),
        ("Score: 5", "content_filter", "content_filter"),
        ("", "stop", "empty_reply"),
        ("I'd rather not.", "stop", "no_verdict"),
        ("I'm sorry, I can't.", "stop", "refused"),
    ],
)
def test_unfit_reply_leaves_the_answer_unscored_and_is_kept(verdict, text, finish_reason, reason):
    [found] = rate(rubric_config(verdict=verdict), always(text, finish_reason=finish_reason), item())
    assert found.score is None
    assert found.reason == ("no_verdict" if (verdict, reason) == ("json", "refused") else reason)
    assert found.raw_reply == text


def test_trouble_of_the_model_leaves_one_answer_unscored_and_keeps_what_it_said():
    model = in_turn(Reply([], "timeout", "no reply in 120 s"), reply_texts("Score: 2"))
    first, second = rate(rubric_config(), model, item(), item())
    assert (first.score, first.reason, first.raw_reply) == (None, "timeout", "no reply in 120 s")
    assert (second.score, second.reason) == (2, None)


def test_lone_surrogates_in_a_reply_are_replaced():
    [verdict] = rate(rubric_config(), always("half \ud83d\nScore: 2"), item())
    assert (verdict.rationale, verdict.raw_reply) == ("half \ufffd", "half \ufffd\nScore: 2")


def by_aspect(**ratings: str) -> Callable[[Question], Reply]:
    def answer(question: Question) -> Reply:
        system = question.messages[0]["content"]
        return reply_texts(next(text for name, text in ratings.items() if f"What to rate: {name}" in system))

    return answer


def test_aspects_are_asked_apart_and_their_weighted_mean_is_the_score():
    model = ScriptedModel(by_aspect(kind="k\nScore: 5", true="t\nScore: 2"))
    [verdict] = rate(rubric_config(aspects=aspects(kind=1, true=3)), model, item())
    assert verdict.score == pytest.approx((5 + 3 * 2) / 4)
    assert verdict.aspects == {"kind": 5, "true": 2}
    assert verdict.rationale == "kind: k\n\ntrue: t"
    assert json.loads(verdict.raw_reply or "") == ["k\nScore: 5", "t\nScore: 2"]
    assert (verdict.n_tokens_in, verdict.n_tokens_out) == (14, 6)


def test_one_unscored_aspect_leaves_the_answer_unscored_and_the_others_visible():
    kept = Kept()
    model = ScriptedModel(by_aspect(kind="Score: 5", true="well", fair="Score: 9"))
    config = rubric_config(aspects=aspects(kind=1, true=1, fair=1))
    [verdict] = rate(config, model, item(), replies=kept)
    assert (verdict.score, verdict.reason, verdict.aspects) == (None, "no_verdict", {"kind": 5})
    assert [reply.choices[0].text for reply in kept.held.values()] == ["Score: 5"]
    again = ScriptedModel(by_aspect(true="Score: 1", fair="Score: 3"))
    assert rate(config, again, item(), replies=kept)[0].score == 3
    assert len(again.asked) == 2


def test_budget_is_the_reason_even_where_an_aspect_has_another():
    model = in_turn(reply_texts("well"), Reply([], "budget"))
    [verdict] = rate(rubric_config(aspects=aspects(kind=1, true=1)), model, item())
    assert verdict.reason == "budget"


def test_spread_of_several_aspects_is_that_of_their_mean():
    model = ScriptedModel(lambda _: reply_token(logs(_2=0.5, _4=0.5)))
    config = rubric_config(verdict="expected", aspects=aspects(kind=1, true=1))
    assert rate(config, model, item())[0].uncertainty == pytest.approx(1 / math.sqrt(2))
