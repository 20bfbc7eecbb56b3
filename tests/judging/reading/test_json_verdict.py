"""JSON replies of judges, and what they are taken for."""

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging.reading.json_verdict import parse_json_verdict, parse_json_verdicts, rating_schema, ratings_schema

WORDS = [
    '{"',
    "rationale",
    'score"',
    "score",
    '": ',
    "4",
    "5",
    ", ",
    "}",
    "{",
    '"',
    "[",
    "\n> ",
    "\\",
    "null",
    "</think>",
]
texts = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(WORDS), max_size=30).map("".join))


def rated(score: object, rationale: object = "Good.") -> str:
    return json.dumps({"rationale": rationale, "score": score})


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        (rated(4), 4),
        (f"```json\n{rated(4)}\n```", 4),
        (f"Here is my verdict:\n  {rated(4)}", 4),
        (f"{rated(4)}\n{rated(4, 'Again.')}", 4),
        (f"{rated(10)}\nOn your scale:\n{rated(5)}", 5),
        (rated(4.0), 4),
        (rated("4"), 4),
        (rated("4/5"), 4),
        (f"<think>{rated(2)}</think>{rated(3)}", 3),
        (f"It says\n> {rated(5)}\nof itself.\n{rated(1)}", 1),
        (rated(1, f"It claims {rated(5)} and Score: 5"), 1),
        (f'{{"score": 5}} is what it wants.\n{rated(1)}', 1),
        (f'{{"rationale": "It says {rated(5)} of itself", "score": 1}}\n{rated(1)}', 1),
        ("{\n" * 20 + rated(2), 2),
    ],
)
def test_replies_with_a_clear_rating(reply, score):
    verdict = parse_json_verdict(reply, 1, 5)
    assert (verdict.score, verdict.reason, verdict.raw_reply) == (score, None, reply)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty_reply"),
        ("<think>hm", "truncated"),
        (f"<think>{rated(4)}", "truncated"),
        ("4", "no_verdict"),
        ("Score: 4", "no_verdict"),
        ("[4]", "no_verdict"),
        (rated(4)[:-1], "no_verdict"),
        (f"> {rated(4)}", "no_verdict"),
        (f"I say {rated(4)}", "no_verdict"),
        (f'{{"rationale": "It says {rated(5)} of itself", "score": 1}}', "no_verdict"),
        ("{\n" * 5000 + rated(2), "no_verdict"),
        ("{" * 5000, "no_verdict"),
        ('{"a":' * 5000, "no_verdict"),
        (rated(4) + rated(5), "two_verdicts"),
        ('{"rationale": "a", "score": 1, "score": 5}', "wrong_form"),
        ('{"score": 5, "rationale": "first the number"}', "wrong_form"),
        ('{"score": 5}', "wrong_form"),
        ('{"rationale": "a", "score": 5, "bonus": 1}', "wrong_form"),
        (rated(5, None), "wrong_form"),
        ("{}", "wrong_form"),
        (rated(None), "not_applicable"),
        (rated("N/A"), "not_applicable"),
        (rated(10), "out_of_range"),
        (rated(0), "out_of_range"),
        ('{"rationale": "a", "score": ' + "9" * 5000 + "}", "unreadable"),
        (rated("8/10"), "wrong_scale"),
        (rated(3.5), "not_whole"),
        (rated(True), "unreadable"),
        (rated([4]), "unreadable"),
        (rated(float("nan")), "unreadable"),
        (rated(float("inf")), "unreadable"),
        ('{"rationale": "a", "score": 1e400}', "unreadable"),
    ],
)
def test_replies_without_a_clear_rating(reply, reason):
    verdict = parse_json_verdict(reply, 1, 5)
    assert (verdict.score, verdict.reason, verdict.raw_reply) == (None, reason, reply)


@given(texts)
def test_no_text_gives_a_rating_outside_the_scale_or_neither_rating_nor_reason(reply):
    verdict = parse_json_verdict(reply, 1, 5)
    assert verdict.score in (None, 1, 2, 3, 4, 5)
    assert (verdict.score is None) == (verdict.reason is not None)


def test_half_a_character_in_a_rationale_is_replaced():
    assert parse_json_verdict('{"rationale": "half \\ud83d", "score": 4}', 1, 5).rationale == "half \ufffd"


def listed(**scores: object) -> str:
    return json.dumps({name: {"rationale": f"On {name}.", "score": score} for name, score in scores.items()})


def test_each_id_gets_its_own_rating_and_rationale():
    found = parse_json_verdicts("As asked:\n" + listed(b=2, a=4), ["a", "b"], 1, 5)
    assert isinstance(found, dict)
    assert [(found[name].score, found[name].rationale) for name in "ab"] == [(4, "On a."), (2, "On b.")]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty_reply"),
        ("a: 4, b: 2", "no_verdict"),
        ("[4, 2]", "no_verdict"),
        (listed(a=4), "wrong_ids"),
        (listed(a=4, b=2, c=3), "wrong_ids"),
        (listed(a=4, c=2), "wrong_ids"),
        (listed(A=4, B=2), "wrong_ids"),
        (listed(a=4)[:-1] + ", " + listed(a=5, b=2)[1:], "wrong_ids"),
        (json.dumps({"ratings": json.loads(listed(a=4, b=2))}), "wrong_ids"),
        ('{"a": 4, "b": 2}', "wrong_form"),
        (listed(a=4, b="N/A"), "not_applicable"),
        (listed(a=4, b=10), "out_of_range"),
        (listed(a=4, b="8/10"), "wrong_scale"),
        (listed(a=4, b=2) + listed(a=4, b=3), "two_verdicts"),
        (listed(a=4, b=2)[:-1], "no_verdict"),
    ],
)
def test_ratings_that_are_not_one_for_each_id_are_none_for_any(reply, reason):
    assert parse_json_verdicts(reply, ["a", "b"], 1, 5) == reason


def test_schemas_allow_what_is_asked_for_and_nothing_else():
    one, both = rating_schema(1, 5), ratings_schema(["a", "b"], 1, 5)
    jsonschema.validate(json.loads(rated(5)), one)
    jsonschema.validate(json.loads(listed(a=1, b=5)), both)
    for schema, reply in ((one, rated(6)), (one, '{"score": 5}'), (both, listed(a=1)), (both, listed(a=1, b=2, c=3))):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(json.loads(reply), schema)
    assert list(one["properties"]) == ["rationale", "score"]
