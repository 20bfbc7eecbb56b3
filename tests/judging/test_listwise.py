"""The listwise judge: all answers of a prompt in one call, a rating for each or for none."""

import json
import re

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from judging.asking.chat import Question, Reply
from judging.asking.dialogue import NoReplies
from judging.asking.scripted_model import ScriptedModel, reply_texts
from judging.judge import Item
from judging.listwise import ListwiseJudge
from tests.judging.chat_judges import always, in_turn, item, listwise_config, rate_together

SHOWN = re.compile(r"^\[[0-9a-f]{16} ANSWER ([a-z]{4})\]\n(.*?)\n\[[0-9a-f]{16} END\]$", re.DOTALL | re.MULTILINE)


def read_shown(question: Question) -> dict[str, str]:
    """Give the answers of a question by their ids, in order."""
    return dict(SHOWN.findall(question.messages[1]["content"]))


def rate_by_length(question: Question) -> Reply:
    """Rate an answer of n characters n, with the text as rationale."""
    rated = {name: {"rationale": text, "score": len(text)} for name, text in read_shown(question).items()}
    jsonschema.validate(rated, json.loads(question.json_schema or ""))
    return reply_texts(json.dumps(rated))


def group(*texts: str, prompt_id: str = "p1") -> list[Item]:
    return [item(text, f"{prompt_id}-{place}", prompt_id=prompt_id) for place, text in enumerate(texts)]


def by_length() -> ScriptedModel:
    return ScriptedModel(rate_by_length)


def test_each_answer_gets_its_own_rating_from_one_call():
    model = by_length()
    verdicts = rate_together(listwise_config(), model, *group("aaa", "b", "ccccc"))
    assert [verdict.score for verdict in verdicts] == [3, 1, 5]
    assert [verdict.rationale for verdict in verdicts] == ["aaa", "b", "ccccc"]
    assert len(model.asked) == 1
    assert {verdict.raw_reply for verdict in verdicts} == {rate_by_length(model.asked[0]).choices[0].text}


def test_prompts_are_judged_apart():
    model = by_length()
    verdicts = rate_together(listwise_config(), model, *group("a", "bb"), *group("ccc", "dddd", prompt_id="p2"))
    assert [verdict.score for verdict in verdicts] == [1, 2, 3, 4]
    assert sorted(len(read_shown(question)) for question in model.asked) == [2, 2]


def test_one_answer_alone_is_judged_like_several():
    assert [verdict.score for verdict in rate_together(listwise_config(), by_length(), *group("aaaa"))] == [4]


@given(st.lists(st.text("xyz", min_size=1, max_size=5), min_size=1, max_size=8), st.randoms())
def test_permuted_answers_get_permuted_ratings_of_the_same_questions(texts, order):
    """Even where the judge rates by the place in which it reads an answer."""

    def by_place(question: Question) -> Reply:
        names = list(read_shown(question))
        return reply_texts(json.dumps({n: {"rationale": "", "score": 1 + i % 5} for i, n in enumerate(names)}))

    items = group(*texts)
    permuted = order.sample(items, len(items))
    for script in (rate_by_length, by_place):
        one, other = ScriptedModel(script), ScriptedModel(script)
        scores = {id(i): v.score for i, v in zip(items, rate_together(listwise_config(), one, *items), strict=True)}
        again = rate_together(listwise_config(), other, *permuted)
        assert [verdict.score for verdict in again] == [scores[id(one)] for one in permuted]
        assert one.asked == other.asked


def test_ids_and_order_are_anew_in_each_call_and_say_nothing_of_the_order_of_arrival():
    model = by_length()
    prompts = [group(*(letter * 5 for letter in "abcde"), prompt_id=f"p{number}") for number in range(40)]
    rate_together(listwise_config(), model, *[one for prompt in prompts for one in prompt])
    orders = ["".join(text[0] for text in read_shown(question).values()) for question in model.asked]
    ids = [name for question in model.asked for name in read_shown(question)]
    assert len(set(orders)) > 25
    assert all(len({order[place] for order in orders}) == 5 for place in range(5))
    assert len(set(ids)) == len(ids)


def test_ids_are_in_none_of_the_texts():
    model = by_length()
    rate_together(listwise_config(), model, *group("a", "b"))
    first, second = read_shown(model.asked[0])
    shown = f"{first} {second}"
    model = ScriptedModel(lambda question: reply_texts("{}"))
    rate_together(listwise_config(), model, *group("a", shown))
    assert first not in read_shown(model.asked[0])
    assert second not in read_shown(model.asked[0])


def test_text_that_holds_all_short_ids_gets_longer_ones():
    letters = "bcdfghjkmnpqrstvwxz"
    full = "".join(f"{a}{b}{c}{d}" for a in letters for b in letters for c in letters for d in letters)
    model = ScriptedModel(lambda _: reply_texts("{}"))
    rate_together(listwise_config(), model, *group("a", full))
    assert re.search(r"Rate each of the answers [a-z]{5}, [a-z]{5}\.", model.asked[0].messages[1]["content"])


def test_samples_are_calls_with_other_shuffles_and_their_mean_is_the_score():
    def by_place(question: Question) -> Reply:
        names = list(read_shown(question))
        return reply_texts(json.dumps({n: {"rationale": "", "score": 1 + i} for i, n in enumerate(names)}))

    model = ScriptedModel(by_place)
    verdicts = rate_together(listwise_config(n_samples=16), model, *group("a", "b", "c", "d", "e"))
    assert len({tuple(read_shown(question).values()) for question in model.asked}) > 8
    assert len({question.seed for question in model.asked}) == 16
    assert sum(verdict.score or 0 for verdict in verdicts) == pytest.approx(15)
    assert all(2 < (verdict.score or 0) < 4 and (verdict.uncertainty or 0) > 0.5 for verdict in verdicts)
    assert all(len(json.loads(verdict.raw_reply or "")) == 16 for verdict in verdicts)


def changed(**changes) -> ScriptedModel:
    """A judge whose ratings of answers 0, 1, ... are replaced, or left out where None."""

    def answer(question: Question) -> Reply:
        rated = {}
        for name, text in read_shown(question).items():
            score = changes.get(text, len(text))
            rated |= {} if score is None else {name: {"rationale": "", "score": score}}
        return reply_texts(json.dumps(rated))

    return ScriptedModel(answer)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (changed(aa=None), "wrong_ids"),
        (changed(aa=10), "out_of_range"),
        (changed(aa="8/10"), "wrong_scale"),
        (changed(aa="N/A"), "not_applicable"),
        (always("[3, 4]"), "no_verdict"),
        (always("Answer 1: 3\nAnswer 2: 4"), "no_verdict"),
        (always('{"1": {"rationale": "", "score": 3}}'), "wrong_ids"),
        (always("{}", finish_reason="length"), "truncated"),
        (always("{}", finish_reason="content_filter"), "content_filter"),
        (always(""), "empty_reply"),
        (in_turn(Reply([], "too_long", "maximum context length")), "too_long"),
    ],
)
def test_unless_each_answer_has_a_rating_the_whole_group_is_unscored(model, reason):
    verdicts = rate_together(listwise_config(), model, *group("a", "aa", "aaa"))
    assert [(verdict.score, verdict.reason) for verdict in verdicts] == [(None, reason)] * 3


def test_samples_without_ratings_do_not_count_if_at_least_half_have_them():
    calls = iter(range(8))

    def one_in_four_fails(question: Question) -> Reply:
        return reply_texts("no") if next(calls) % 4 == 0 else rate_by_length(question)

    verdicts = rate_together(listwise_config(n_samples=8), ScriptedModel(one_in_four_fails), *group("a", "bb"))
    assert [(verdict.score, verdict.uncertainty) for verdict in verdicts] == [(1, 0), (2, 0)]


def test_budget_is_the_reason_of_the_whole_group():
    model = in_turn(reply_texts("no"), reply_texts("no"), Reply([], "budget"))
    verdicts = rate_together(listwise_config(n_samples=3), model, *group("a", "bb"))
    assert [verdict.reason for verdict in verdicts] == ["budget", "budget"]


def test_spent_budget_never_leaves_a_group_with_fewer_samples():
    paid = iter(range(2))
    model = ScriptedModel(lambda asked: Reply([], "budget") if next(paid, None) is None else rate_by_length(asked))
    verdicts = rate_together(listwise_config(n_samples=3), model, *group("a", "bb"))
    assert [(verdict.score, verdict.reason) for verdict in verdicts] == [(None, "budget"), (None, "budget")]


def test_tokens_and_cost_of_a_call_are_shared_out():
    def answer(question: Question) -> Reply:
        return Reply(rate_by_length(question).choices, n_tokens_in=11, n_tokens_out=3, cost=0.6)

    verdicts = rate_together(listwise_config(), ScriptedModel(answer), *group("a", "b", "c"))
    assert sorted(verdict.n_tokens_in or 0 for verdict in verdicts) == [3, 4, 4]
    assert [verdict.n_tokens_out for verdict in verdicts] == [1, 1, 1]
    assert sum(verdict.cost or 0 for verdict in verdicts) == pytest.approx(0.6)


def test_replies_that_could_not_be_read_are_forgotten_and_the_others_kept():
    forgotten = []

    class Watched(NoReplies):
        def forget(self, question: Question) -> None:
            forgotten.append(question)

    model = in_turn(reply_texts("no"), reply_texts("no"), reply_texts("{}"))
    rate_together(listwise_config(n_samples=3), model, *group("a", "bb"), replies=Watched())
    assert len(forgotten) == 3
    rate_together(listwise_config(n_samples=3), by_length(), *group("a", "bb"), replies=Watched())
    assert len(forgotten) == 3


def test_judge_reads_rubric_scale_conversation_reference_ids_and_which_answers_are_empty():
    model = ScriptedModel(lambda _: reply_texts("{}"))
    items = [item(text, name, reference_answer="4") for text, name in (("", "c1"), ("It is 4.", "c2"))]
    rate_together(listwise_config(rubric="Is it {{ so }}?", max_score=9), model, *items)
    system, user = (message["content"] for message in model.asked[0].messages)
    names = {text: name for name, text in read_shown(model.asked[0]).items()}
    assert "What to rate: Is it {{ so }}?" in system
    assert "from 1 (worst) to 9 (best)" in system
    assert "REFERENCE ANSWER]\n4\n" in user
    assert f"Empty, the assistant said nothing: {names['']}." in user
    assert f'"{names[""]}": {{"rationale": "...", "score": N}}' in user


@given(st.lists(st.text(st.characters(codec=None, exclude_categories=()), max_size=30), min_size=1, max_size=4))
def test_any_texts_are_asked_about_and_can_be_sent(texts):
    model = ScriptedModel(lambda _: reply_texts("{}"))
    rate_together(listwise_config(), model, *group(*texts))
    sent = json.dumps(model.asked[0].messages, ensure_ascii=False).encode()
    assert sent.count(b"ANSWER") >= len(texts)


def test_template_that_does_not_show_the_answers_is_refused(tmp_path):
    (tmp_path / "mine.jinja").write_text("{% block system %}a{% endblock %}{% block user %}b{% endblock %}")
    config = listwise_config(rubric="wit", template=tmp_path / "mine.jinja")
    with pytest.raises(ValueError, match="does not show the answers"):
        ListwiseJudge(config, by_length(), NoReplies())


def test_scale_of_one_rating_is_refused():
    with pytest.raises(ValidationError, match="min_score 5 must be below max_score 5"):
        listwise_config(min_score=5)
