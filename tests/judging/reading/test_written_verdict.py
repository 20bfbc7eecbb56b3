"""Transcripts of judges, and what they are taken for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judging.asking.quoting import quote_verdicts
from judging.reading.written_verdict import parse_verdict


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Correct and brief.\nScore: 5", 5),
        ("Score: 1", 1),
        ("**Good.**\n\n**Score:** 4", 4),
        ("Fine.\n**Score: 4**", 4),
        ("Fine.\n## Score: 4.", 4),
        ("Fine.\nscore : 3", 3),
        ("Fine.\nScore: 4.0", 4),
        ("Fine.\nScore: 4/5", 4),
        ("Fine.\nScore: 4 out of 5\n", 4),
        ("Fine.\r\nScore: 2\r\n", 2),
        ("At first I thought\nScore: 4\nand I still do.\nScore: 4", 4),
        ("The answer says `Score: 5` of itself, in vain.\nScore: 2", 2),
        ("It repeats\n> Score: 5\nfrom the text.\nScore: 1", 1),
        ("<think>Score: 2? No.\nScore: 2\n</think>Better than I thought.\nScore: 3", 3),
        ("<think>hm</think>Score: 3", 3),
        ("It writes a <think> tag.\nScore: 3", 3),
        ("It says\n> </think>Score: 5\nwhich is a trick.\nScore: 1", 1),
        ("Score: 3\nThank you for asking.", 3),
        ("I will end with\nScore: N\nso here it is.\nScore: 4", 4),
        ("Score: N/A\nScore: 4", 4),
        ("Score: high\nScore: 4", 4),
        ("On a scale to ten:\nScore: 8/10\nOn yours:\nScore: 4", 4),
        ("I'm sorry to say that it is poor.\nScore: 1", 1),
    ],
)
def test_transcripts_with_a_clear_verdict(reply, score):
    verdict = parse_verdict(reply, 1, 5)
    assert (verdict.score, verdict.reason, verdict.raw_reply) == (score, None, reply)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty_reply"),
        (" \n ", "empty_reply"),
        ("<think>hm</think>", "empty_reply"),
        ("<think>I would say\nScore: 4", "truncated"),
        ("I like it.", "no_verdict"),
        ("I give it a 4.", "no_verdict"),
        ("I would say Score: 4", "no_verdict"),
        ("Score 4", "no_verdict"),
        ('{"score": 4}', "no_verdict"),
        ("> Score: 4", "no_verdict"),
        ("Scores: 4", "no_verdict"),
        ("Score: 2\nOn second thoughts:\nScore: 4", "two_verdicts"),
        ("Score: N/A\nScore: 4\nScore: 5", "two_verdicts"),
        ("Score: 4\nScore: 10\nScore: 5", "two_verdicts"),
        ("Score: 9\nScore: N/A", "not_applicable"),
        ("Score: N/A\nScore: 9", "out_of_range"),
        ("I'm sorry, but I can't rate this.", "refused"),
        ("**I cannot** help with that.", "refused"),
        ("As an AI I must not judge.", "refused"),
        ("Sorry, no.\nScore: 9", "out_of_range"),
        ("Score: 0", "out_of_range"),
        ("Score: 6", "out_of_range"),
        ("Score: 10", "out_of_range"),
        ("Score: -1", "out_of_range"),
        ("Score: 100000000", "out_of_range"),
        ("Score: 8/10", "wrong_scale"),
        ("Score: 4/10", "wrong_scale"),
        ("Score: 4 out of 4", "wrong_scale"),
        ("Score: 3.5", "not_whole"),
        ("Score: N/A", "not_applicable"),
        ("**Score: n/a**", "not_applicable"),
        ("Score:", "unreadable"),
        ("Score: N", "unreadable"),
        ("Score: 3-4", "unreadable"),
        ("Score: 4 or 5", "unreadable"),
        ("Score: 4, or rather 2", "unreadable"),
        ("Score: 4 Score: 5", "unreadable"),
        ("Score: four", "unreadable"),
        ("Score: 1 0", "unreadable"),
        ("Score: " + "9" * 5000, "unreadable"),
        ("Score: \u0664", "unreadable"),
        ("Score: nan", "unreadable"),
        ("Score: 1e1", "unreadable"),
    ],
)
def test_transcripts_without_a_clear_verdict(reply, reason):
    verdict = parse_verdict(reply, 1, 5)
    assert (verdict.score, verdict.reason, verdict.raw_reply) == (None, reason, reply)


def test_scale_may_start_below_zero_and_end_above_nine():
    assert parse_verdict("Score: -2", -2, 2).score == -2
    assert parse_verdict("Score: 8/10", 1, 10).score == 8
    assert parse_verdict("Score: 10", 1, 10).score == 10


def test_rationale_is_what_stands_before_the_verdict():
    assert parse_verdict("It is right.\nAnd brief.\n\nScore: 5\nBye.", 1, 5).rationale == "It is right.\nAnd brief."
    assert parse_verdict("Score: 5", 1, 5).rationale is None


WORDS = [
    "Score",
    "score:",
    "SCORE : ",
    " 4",
    "5",
    "/5",
    "/10",
    "10",
    "-",
    ".",
    "0",
    "N/A",
    "good ",
    "=",
    "out of 5",
    " ",
]
SIGNS = ["**", "_", "#", ">", "`", "\n", "\r\n", "\u2028", "\x0b", "\x85", "<think>", "</think>", "\uff1a", "\u0665"]
texts = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(WORDS + SIGNS), max_size=30).map("".join))


@settings(deadline=None)
@given(texts, st.integers(-3, 3), st.integers(1, 12))
def test_no_text_ever_gives_a_score_outside_the_scale_or_a_verdict_without_reason(reply, min_score, span):
    verdict = parse_verdict(reply, min_score, min_score + span)
    assert (verdict.score is None) == (verdict.reason is not None)
    if verdict.score is not None:
        assert verdict.score in range(min_score, min_score + span + 1)
        assert "score" in reply.lower()


@settings(deadline=None)
@given(texts, texts)
def test_verdict_after_any_words_that_hold_none_is_read(before, after):
    words = quote_verdicts(f"{before}\n{after}").replace("<think>", "")
    verdict = parse_verdict(f"{words}\nScore: 3", 1, 5)
    assert verdict.score == 3
