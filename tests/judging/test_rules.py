import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from judging.checking.timed import grade_in_time
from judging.config import RulesConfig
from judging.judge import Item
from judging.rules import Rules, compile_rules

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False}
LIST = {"$ref": "#/$defs/list", "$defs": {"list": {"type": "array", "items": {"$ref": "#/$defs/list"}}}}


def rules(*given, **fields):
    return RulesConfig.model_validate({"kind": "rules", "rules": list(given), **fields})


def meets(text, reference=None, **rule):
    verdict = compile_rules(rules(rule))(text, reference)
    assert verdict.aspects == {rule["rule"]: verdict.score}
    return verdict.score == 1.0


@pytest.mark.parametrize(
    ("fields", "text", "reference"),
    [
        ({}, " Blue\n whale ", "blue whale"),
        ({}, "Caf\u00e9", "cafe\u0301"),
        ({}, "STRASSE", "Straße"),
        ({"ignore_punctuation": True}, "**Blue**, whale!", "blue whale"),
        ({"ignore_space": False}, "blue\n", "Blue\n"),
        ({"after": "Answer:"}, "Answer: red? No.\nAnswer: blue\nThat is all.", "blue"),
        ({"pattern": r"\(([A-D])\)"}, "Not (A) but (C).", "c"),
        ({"pattern": r"[A-D](?=\.$)"}, "It is C.", "C"),
    ],
)
def test_answer_equal_to_the_reference_meets_exact_match(fields, text, reference):
    assert meets(text, reference, rule="exact_match", **fields)


@pytest.mark.parametrize(
    ("fields", "text", "reference"),
    [
        ({}, "blue whales", "blue whale"),
        ({}, "blue whale!", "blue whale"),
        ({"ignore_case": False}, "Blue", "blue"),
        ({"ignore_space": False}, "blue ", "blue"),
        ({"after": "Answer:"}, "blue", "blue"),
        ({"after": "Answer:"}, "Answer: blue\nAnswer: red", "blue"),
        ({"pattern": r"\(([A-D])\)"}, "C", "c"),
        ({"pattern": r"(C)|D"}, "C D", "C"),
    ],
)
def test_other_answer_fails_exact_match(fields, text, reference):
    assert not meets(text, reference, rule="exact_match", **fields)


@pytest.mark.parametrize("reference", [None, "", " \n"])
def test_rule_that_needs_a_reference_leaves_the_answer_unscored_without_one(reference):
    judge = compile_rules(rules({"rule": "length", "min": 1}, {"rule": "exact_match"}))
    verdict = judge("blue", reference)
    assert (verdict.score, verdict.reason, verdict.aspects) == (None, "no_reference", None)


def test_reference_of_punctuation_alone_is_none_where_punctuation_does_not_count():
    judge = compile_rules(rules({"rule": "exact_match", "ignore_punctuation": True}))
    assert judge("blue", "?!").reason == "no_reference"


@pytest.mark.parametrize(
    ("text", "met"), [("It is 12 km.", True), ("It is twelve km.", False), ("", False), ("12\0 km", False)]
)
def test_regex_matches_somewhere_or_nowhere(text, met):
    assert meets(text, rule="regex", pattern=r"\d+ km") == met
    assert meets(text, rule="regex", pattern=r"\d+ km", must="not_match") != met


@pytest.mark.parametrize(
    "text",
    [
        '{"x": 1}',
        ' \n{"x": 1}\n',
        'Here it is:\n```json\n{"x": 1}\n```\nDone.',
        '```JSON\n{"x": "old"}\n```\n\n```json\n{\n  "x": 1\n}\n```',
        '````json\n{"x": 1}\n````',
        '```json\r\n{"x": 1}\r\n```\r\n',
    ],
)
def test_json_that_fits_the_schema_is_found(text):
    assert meets(text, rule="json_schema", fits=POINT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = 1",
        '{"x": 1.5}',
        '{"x": NaN}',
        '{"x": 1',
        '{"x": 1, "y": 2}',
        '```json\n{"x": 1}',
        '```\n{"x": 1}\n```',
        '```json\n{"x": 1}\n```\n```json\nnothing\n```',
        '```python\nprint("""\n```json\n{"x": 1}\n```',
        "[" * 100_000,
        "[" * 900 + "]" * 900,
        '{"x": ' + "9" * 10_000 + "}",
        '{"x": "\0"}',
        '{"x": "\ud800"}',
    ],
)
def test_text_without_fitting_json_fails(text):
    assert not meets(text, rule="json_schema", fits=POINT)


def test_json_is_looked_for_where_the_rule_says():
    block = 'Here:\n```json\n{"x": 1}\n```'
    assert not meets(block, rule="json_schema", fits=POINT, where="answer")
    assert meets(block, rule="json_schema", fits=POINT, where="block")
    assert not meets('{"x": 1}', rule="json_schema", fits=POINT, where="block")


@pytest.mark.parametrize("text", ["null", "0", "[]", '"\\ud800"'])
def test_any_json_will_do_without_a_schema(text):
    assert meets(text, rule="json_schema")


def test_json_nested_too_deeply_for_its_schema_fails_and_does_not_crash():
    assert meets("[[[]]]", rule="json_schema", fits=LIST)
    assert not meets("[" * 900 + "]" * 900, rule="json_schema", fits=LIST)


@pytest.mark.parametrize("text", ["1" * 4000, "1e400", "-1e400"])
def test_json_with_a_number_too_large_for_its_schema_fails_and_does_not_crash(text):
    assert meets("1.5", rule="json_schema", fits={"multipleOf": 0.5})
    assert not meets(text, rule="json_schema", fits={"multipleOf": 0.5})


def test_schema_file_is_read_into_the_config(tmp_path):
    path = tmp_path / "point.json"
    path.write_text(json.dumps(POINT))
    config = rules({"rule": "json_schema", "path": str(path)})
    assert config == rules({"rule": "json_schema", "fits": POINT})
    assert RulesConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "integr"}, r"not a JSON schema: \$\.type: 'integr'"),
        ({"pattern": "("}, r"not a JSON schema: \$\.pattern: '\(' is not a 'regex'"),
        ({"$ref": "#/$defs/none"}, "'#/\\$defs/none' points to nothing inside the schema"),
        ({"items": {"$ref": "https://localhost/point.json"}}, "'https://localhost/point.json' points to nothing"),
        ({"$schema": "http://localhost/draft-99"}, "'http://localhost/draft-99' is no draft that is known"),
        ([1], "should be a valid dictionary"),
    ],
)
def test_bad_schema_is_an_error_of_the_config(schema, message):
    with pytest.raises(ValidationError, match=rf"rules\.0\.json_schema\.fits\n.*{message}"):
        rules({"rule": "json_schema", "fits": schema})


def test_file_that_holds_no_schema_is_an_error_of_the_config(tmp_path):
    path = tmp_path / "point.json"
    with pytest.raises(ValidationError, match=r"path .*point\.json cannot be read as a JSON schema"):
        rules({"rule": "json_schema", "path": path})
    path.write_text("[1")
    with pytest.raises(ValidationError, match=r"path .*point\.json cannot be read as a JSON schema"):
        rules({"rule": "json_schema", "path": path})
    path.write_text("[1]")
    with pytest.raises(ValidationError, match="should be a valid dictionary"):
        rules({"rule": "json_schema", "path": path})
    with pytest.raises(ValidationError, match="fits and path both give a schema"):
        rules({"rule": "json_schema", "path": path, "fits": POINT})


def test_schema_of_an_older_draft_is_read_by_its_own_rules():
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]}
    assert meets("[1, true]", rule="json_schema", fits=schema)
    assert not meets('["1"]', rule="json_schema", fits=schema)


@pytest.mark.parametrize(
    ("unit", "text", "count"),
    [
        ("chars", " five5\n", 5),
        ("words", "one  two\nthree\u00a0four", 4),
        ("sentences", 'One. Two? "Three!" And 3.14 is not the end', 4),
        ("sentences", "Wait... what?!", 2),
        ("sentences", "一つ。二つ。", 2),
        ("lines", "a\n\nb\r\nc\n", 3),
        ("paragraphs", "a\nb\n\n \nc\n\nd\n", 3),
        *[
            (unit, text, 0)
            for unit in ("chars", "words", "sentences", "lines", "paragraphs")
            for text in ("", " \n\n ")
        ],
    ],
)
def test_length_is_counted_in_its_unit(unit, text, count):
    assert meets(text, rule="length", unit=unit, min=count, max=count)
    assert not meets(text, rule="length", unit=unit, min=count + 1)
    if count:
        assert not meets(text, rule="length", unit=unit, max=count - 1)


LIST_TEXT = "# Title\n\n- one\n* two\n  - three\n\n1. first\n2) second\n\n```python\n# no heading\n- no bullet\n```\n"


@pytest.mark.parametrize(
    ("fields", "text", "met"),
    [
        ({"starts_with": "Dear"}, "\nDear all", True),
        ({"starts_with": "dear"}, "Dear all", False),
        ({"starts_with": "dear", "ignore_case": True}, "Dear all", True),
        ({"ends_with": "Yours."}, "Bye. Yours.\n", True),
        ({"ends_with": "Yours."}, "Yours. Bye.", False),
        ({"contains": ["red", "blue"]}, "red and blue", True),
        ({"contains": ["red", "blue"]}, "red", False),
        ({"lacks": [",", "!"]}, "No commas here.", True),
        ({"lacks": [",", "!"]}, "Well, one.", False),
        ({"contains": ["art"]}, "party", True),
        ({"contains": ["art"], "whole_words": True}, "party", False),
        ({"contains": ["C++"], "whole_words": True}, "in C++.", True),
        ({"lacks": ["ART"], "whole_words": True, "ignore_case": True}, "some art here", False),
        ({"bullets": {"min": 3, "max": 3}}, LIST_TEXT, True),
        ({"bullets": {"max": 2}}, LIST_TEXT, False),
        ({"numbered": {"min": 2, "max": 2}}, LIST_TEXT, True),
        ({"headings": {"min": 1, "max": 1}}, LIST_TEXT, True),
        ({"code_blocks": {"min": 1, "max": 1}}, LIST_TEXT, True),
        ({"code_blocks": {"max": 0}}, "```\nnever closed", True),
        ({"bullets": {"max": 0}}, "---\n-5 degrees\n**bold**", True),
        ({"placeholders": {"min": 2}}, "Dear [name], from [city]", True),
        ({"placeholders": {"min": 2}}, "Dear [name], []", False),
        ({"markdown": "none"}, "Plain text, 3 * 4 * 5 and a-b.\nMore - text.", True),
        *[
            ({"markdown": "none"}, text, False)
            for text in (
                "# Title", "- item", "1. item", "**bold**", "`code`", "[a](b)", "> quoted", "| a | b |", "```\nx\n```"
            )
        ],
        ({"case": "upper"}, "ALL OF IT, 100 %", True),
        ({"case": "upper"}, "Not ALL", False),
        ({"case": "upper"}, "123", False),
        ({"case": "lower"}, "all of it", True),
        ({"script": "latin"}, "Grüße aus Łódź, 42!", True),
        ({"script": "cyrillic"}, "Привет, мир", True),
        ({"script": "cyrillic"}, "Hello, мир", False),
        ({"script": "han"}, "你好世界", True),
        ({"script": "japanese"}, "こんにちは世界", True),
        ({"script": "han"}, "こんにちは世界", False),
        ({"script": "hangul"}, "안녕하세요", True),
        ({"script": "latin"}, "1234", False),
        ({"starts_with": "a", "ends_with": "z"}, "a to z", True),
        ({"starts_with": "a", "ends_with": "z"}, "a to y", False),
    ],
)  # fmt: skip
def test_format_holds_or_not(fields, text, met):
    assert meets(text, rule="format", **fields) == met


def test_score_is_the_weighted_share_of_rules_met():
    config = rules(
        {"rule": "length", "max": 3, "weight": 3},
        {"rule": "format", "starts_with": "A"},
        {"rule": "format", "ends_with": ".", "name": "full_stop"},
        {"rule": "format", "lacks": ["x"]},
    )
    verdict = compile_rules(config)("A b c", None)
    assert verdict.score == pytest.approx(5 / 6)
    assert verdict.aspects == {"length": 1.0, "format": 1.0, "full_stop": 0.0, "format-2": 1.0}


@pytest.mark.parametrize(("text", "score"), [("A.", 1.0), ("A", 0.0), ("b", 0.0)])
def test_all_or_nothing_asks_for_every_rule(text, score):
    given = [{"rule": "format", "starts_with": "A", "weight": 9}, {"rule": "format", "ends_with": "."}]
    assert compile_rules(rules(*given, all_or_nothing=True))(text, None).score == score


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"rule": "regex", "pattern": "(a"}, r"rules\.0\.regex\.pattern\n.*'\(a' is not a regular expression"),
        ({"rule": "exact_match", "pattern": "[b"}, r"exact_match\.pattern\n.*is not a regular expression"),
        ({"rule": "exact_match", "pattern": "b", "after": "a"}, "two ways to take the answer out"),
        ({"rule": "length"}, "give min, max or both"),
        ({"rule": "length", "min": 5, "max": 4}, "min 5 is above max 4"),
        ({"rule": "format"}, "needs a field that asks something"),
        ({"rule": "format", "ignore_case": True}, "needs a field that asks something"),
        ({"rule": "format", "bullets": {}}, "give min, max or both"),
        ({"rule": "format", "contains": [""]}, "at least 1 character"),
        ({"rule": "length", "min": 1, "weight": 0}, "greater than 0"),
        ({"rule": "telepathy"}, "'exact_match', 'regex', 'json_schema', 'length', 'format'"),
        ({"rule": "length", "min": 1, "most": 2}, r"length\.most\n.*not permitted"),
    ],
)
def test_bad_rule_is_an_error_that_names_it(rule, message):
    with pytest.raises(ValidationError, match=message):
        rules(rule)


def test_two_rules_of_one_name_are_an_error():
    with pytest.raises(ValidationError, match="two rules are called 'short'"):
        rules(*[{"rule": "length", "max": n, "name": "short"} for n in (1, 2)])
    with pytest.raises(ValidationError, match="two rules are called 'length'"):
        rules({"rule": "length", "max": 1}, {"rule": "regex", "pattern": "a", "name": "length"})


HOSTILE = [
    ({"rule": "regex", "pattern": r"(a+)+$"}, "a" * 60 + "b"),
    ({"rule": "json_schema", "fits": {"items": {"pattern": r"^(a+)+$"}}}, json.dumps(["a" * 60 + "b"])),
    ({"rule": "json_schema", "fits": {"uniqueItems": True}}, json.dumps([{"a": n} for n in range(40_000)])),
    ({"rule": "exact_match", "pattern": r"(a|aa)+$"}, "a" * 60 + "b"),
]


@pytest.mark.parametrize(("rule", "text"), HOSTILE, ids=["regex", "pattern", "unique", "exact"])
def test_answer_that_keeps_a_rule_busy_is_unscored_and_the_next_one_is_graded(rule, text):
    start = time.perf_counter()
    bomb, next_one = grade_in_time(lambda: compile_rules(rules(rule)), [(text, "b"), ("[]", "b")], limit_s=0.3)
    assert (bomb.score, bomb.reason) == (None, "timeout")
    assert next_one.score is not None
    assert time.perf_counter() - start < 3


MEGABYTES = ["x" * 1_000_000, "a b. " * 200_000, "- a\n" * 250_000, "[" * 1_000_000, "__a " * 250_000, "[a](" * 250_000,
             "\u0301\u0323" * 500_000, "```\n" * 250_000, "|" * 1_000_000,
             "```json\n" * 125_000, "1" * 1_000_000]  # fmt: skip


@pytest.mark.parametrize("text", MEGABYTES, ids=lambda text: ascii(text[:4]))
def test_megabyte_is_graded_within_the_limit(text):
    every = rules(
        {"rule": "exact_match"}, {"rule": "exact_match", "ignore_punctuation": True, "after": "a", "name": "after"},
        {"rule": "json_schema", "fits": POINT}, {"rule": "regex", "pattern": "z"}, {"rule": "length", "min": 1},
        {"rule": "length", "unit": "sentences", "min": 1}, {"rule": "length", "unit": "paragraphs", "min": 1},
        {"rule": "format", "bullets": {"max": 0}, "markdown": "none", "case": "upper", "script": "han",
         "placeholders": {"max": 0}, "lacks": ["zz"], "whole_words": True},
    )  # fmt: skip
    start = time.perf_counter()
    (verdict,) = grade_in_time(lambda: compile_rules(every), [(text, "b")])
    assert verdict.score is not None
    assert time.perf_counter() - start < 5


EVERY = rules(
    {"rule": "exact_match"},
    {"rule": "regex", "pattern": "a"},
    {"rule": "json_schema"},
    {"rule": "length", "max": 3, "weight": 0.5},
    {"rule": "format", "markdown": "none", "case": "lower", "bullets": {"max": 0}},
)


@given(st.text() | st.text(alphabet="`{}[]\n#-*_|>. aA1\"'\0\ud800"), st.text(min_size=1).filter(str.strip))
def test_any_text_gets_a_score_in_the_unit_interval(text, reference):
    verdict = compile_rules(EVERY)(text, reference)
    assert verdict.score is not None
    assert 0 <= verdict.score <= 1
    assert set(verdict.aspects) == set(EVERY.names)
    assert (verdict.score == 1) == all(verdict.aspects.values())


@pytest.mark.slow
def test_judge_yields_each_item_in_order():
    items = [Item(f"c{n}", "p", [], "a" * n, "aa", {}) for n in range(40)]
    with Rules(rules({"rule": "exact_match"})) as judge:
        verdicts = list(judge.score(enumerate(items)))
    assert [tag for tag, _ in verdicts] == list(range(40))
    assert [tag for tag, verdict in verdicts if verdict.score] == [2]
