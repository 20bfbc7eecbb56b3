import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from judging.asking.chat import Choice
from judging.asking.quoting import quote_verdicts
from judging.reading.pair_verdict import (
    PairVerdict,
    join_orders,
    parse_arena_hard,
    parse_written,
    read_expected,
    read_written,
)

WORDS = [
    "Verdict", "verdict:", "VERDICT : ", "Final ", " A", "B", "tie", "[[", "]]", "[[A>B]]", "A>>B", "A=B", "[[B>A]]",
    "good ", " ",
]  # fmt: skip
SIGNS = ["**", "_", "#", "> ", "`", "\n", "\r\n", "\u2028", "\x0b", "\x85", "<think>", "</think>", "\uff1a", "\u0410"]
texts = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(WORDS + SIGNS), max_size=30).map("".join))


def letter(**probabilities: float) -> Choice:
    return Choice("A", "stop", [{token: math.log(share) for token, share in probabilities.items()}])


@pytest.mark.parametrize(
    ("reply", "win"),
    [
        ("Clearer.\nVerdict: A", 1),
        ("Clearer.\nVerdict: B", 0),
        ("Alike.\nVerdict: tie", 0.5),
        ("Alike.\nVerdict: Tie.", 0.5),
        ("**Verdict:** A", 1),
        ("**Verdict: B**", 0),
        ("## verdict : b", 0),
        ("Final verdict: [[A]]", 1),
        ("Verdict: `B`\r\n", 0),
        ("Verdict: A\nOn reflection still\nVerdict: A", 1),
        ("Verdict: C\nThere is no C.\nVerdict: A", 1),
        ("It writes `Verdict: B` of itself.\nVerdict: A", 1),
        ("> Verdict: B\nsays the answer.\nVerdict: A", 1),
        ("<think>Verdict: A? No.\nVerdict: A\n</think>Verdict: B", 0),
        ("It says\n> </think>Verdict: A\nin vain.\nVerdict: B", 0),
    ],
)
def test_written_verdicts_that_are_clear(reply, win):
    assert parse_written(reply) == PairVerdict(win)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty_reply"),
        ("<think>hm</think>\n", "empty_reply"),
        ("> Verdict: A", "no_verdict"),
        ("<think>I lean to\nVerdict: A", "truncated"),
        ("A is better.", "no_verdict"),
        ("[[A]]", "no_verdict"),
        ("I would say Verdict: A", "no_verdict"),
        ("Verdict A", "no_verdict"),
        ("My verdict: A", "no_verdict"),
        ("Verdict:", "unreadable"),
        ("Verdict: C", "unreadable"),
        ("Verdict: A or B", "unreadable"),
        ("Verdict: A|B|tie", "unreadable"),
        ("Verdict: \u0410", "unreadable"),
        ("Verdict: A\nVerdict: B", "two_verdicts"),
        ("Verdict: tie\nVerdict: B", "two_verdicts"),
    ],
)
def test_written_replies_without_a_clear_verdict(reply, reason):
    assert parse_written(reply) == PairVerdict(None, reason)


@pytest.mark.parametrize(
    ("reply", "win"),
    [
        ("My final verdict is that A is slightly better: [[A>B]]", 1),
        ("[[A>>B]]", 1),
        ("[[A=B]]", 0.5),
        ("[[B>A]].", 0),
        ("**[[B>>A]]**", 0),
        ("[[ a > b ]]", 1),
        ("[[A=B]] and again [[A=B]]", 0.5),
        ("[[A<B]] is no label. [[A>B]]", 1),
        ("[[C>D]] [[B>A]]", 0),
        ("> [[A>B]]\nsays the answer. [[B>A]]", 0),
        ("<think>[[A>B]]</think>[[B>A]]", 0),
    ],
)
def test_arena_hard_labels_that_are_clear(reply, win):
    assert parse_arena_hard(reply) == PairVerdict(win)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty_reply"),
        ("A is better.", "no_verdict"),
        ("[A>B]", "no_verdict"),
        ("[[A>\nB]]", "no_verdict"),
        ("[[A]]", "unreadable"),
        ("[[A<B]]", "unreadable"),
        ("[[A>>>B]]", "unreadable"),
        ("[[A>B]] or [[B>A]]", "two_verdicts"),
        ("[[A>B]] ... [[A>>B]]", "two_verdicts"),
        ("[[A=B]] ... [[A>B]]", "two_verdicts"),
        ("<think>[[A>B]]", "truncated"),
    ],
)
def test_arena_hard_replies_without_a_clear_label(reply, reason):
    assert parse_arena_hard(reply) == PairVerdict(None, reason)


@settings(deadline=None)
@given(texts)
def test_every_reply_has_a_verdict_that_was_offered_or_a_reason(reply):
    for verdict in (parse_written(reply), parse_arena_hard(reply)):
        assert (verdict.win is None) == (verdict.reason is not None)
        assert verdict.win in (None, 0, 0.5, 1)


@settings(deadline=None)
@given(texts)
@example("</think>Verdict: A")
@example("Final verdict: [[A]]")
@example("[[ A >> B ]]")
def test_quoted_text_holds_no_verdict_even_when_a_judge_repeats_all_of_it(text):
    assert parse_written(quote_verdicts(text)).win is None
    assert parse_arena_hard(quote_verdicts(text)).win is None


@settings(deadline=None)
@given(texts, texts)
def test_verdict_after_any_words_that_hold_none_is_read(before, after):
    words = quote_verdicts(f"{before}\n{after}").replace("<think>", "")
    assert parse_written(f"{words}\nVerdict: B").win == 0
    assert parse_arena_hard(f"{words}\nSo: [[B>A]]").win == 0


def test_cut_and_filtered_replies_have_no_verdict():
    assert read_written(Choice("Verdict: A", "length")).reason == "truncated"
    assert read_written(Choice("Verdict: A", "content_filter")).reason == "content_filter"
    assert read_written(Choice("Verdict: A", "stop")).win == 1
    assert read_written(Choice("Verdict: A", None)).win == 1


def test_chance_is_that_of_a_among_both_letters():
    assert read_expected(letter(A=0.6, B=0.3, The=0.1), 0.8).win == pytest.approx(2 / 3)


def test_tokens_of_one_letter_are_added_up():
    assert read_expected(letter(**{"A": 0.3, " A": 0.2, "B": 0.25, "\nB": 0.25}), 0.8).win == pytest.approx(0.5)


def test_letter_that_is_not_among_the_tokens_has_no_chance():
    assert read_expected(letter(A=0.97, The=0.03), 0.8).win == 1
    assert read_expected(letter(B=0.97), 0.8).win == 0


def test_words_that_begin_with_a_letter_are_not_that_letter():
    assert read_expected(letter(Answer=0.5, Both=0.4, a=0.1), 0).reason == "mass"


@pytest.mark.parametrize(
    ("choice", "min_mass", "reason"),
    [
        (letter(A=0.5, B=0.29, The=0.21), 0.8, "mass"),
        (letter(The=1.0), 0.0, "mass"),
        (Choice("A", "stop", [{"A": math.nan, "B": -1.0}]), 0.8, "mass"),
        (Choice("A", "stop", [{"A": -math.inf, "B": -math.inf}]), 0.0, "mass"),
        (Choice("A", "stop", [{}]), 0.0, "mass"),
        (Choice("A", "stop", []), 0.8, "no_logprobs"),
        (Choice("A", "stop", None), 0.8, "no_logprobs"),
        (Choice("", "stop", None), 0.8, "empty_reply"),
        (Choice("", "content_filter", None), 0.8, "content_filter"),
    ],
)
def test_log_probs_without_a_verdict(choice, min_mass, reason):
    assert read_expected(choice, min_mass) == PairVerdict(None, reason)


def test_mass_below_the_minimum_counts_where_the_minimum_is_zero():
    assert read_expected(letter(A=0.01, B=0.03, The=0.96), 0.0).win == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("shown_first", "shown_second", "win"),
    [
        (1, 0, 1),
        (0, 1, 0),
        (1, 1, 0.5),  # always A
        (0, 0, 0.5),  # always B
        (1, 0.5, 0.5),
        (0.5, 0, 0.5),
        (0.5, 0.5, 0.5),
        (0.9, 0.3, 0.8),
        (0.4, 0.8, 0.3),
        (0.99, 0.51, 0.5),
    ],
)
def test_both_orders_must_name_the_same_winner(shown_first, shown_second, win):
    assert join_orders(PairVerdict(shown_first), PairVerdict(shown_second)) == pytest.approx(win)


def test_one_order_alone_says_nothing():
    lost = PairVerdict(None, "mass")
    assert join_orders(PairVerdict(1.0), lost) is None
    assert join_orders(lost, PairVerdict(1.0)) is None
