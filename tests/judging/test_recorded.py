import json
import tempfile
import tracemalloc
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging.config import RecordedConfig
from judging.judge import Item, Verdict
from judging.recorded import Recorded, read_scores
from judging.scoring import scores_table

USER = {"role": "user", "content": "What is two plus two?"}


def item(id="c1", text="four", messages=(USER,)):
    return Item(id, "p", list(messages), text, None, {})


def write(path, *rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def look_up(path, *items):
    with Recorded(RecordedConfig(kind="recorded", path=path)) as judge:
        return [(verdict.score, verdict.reason) for _, verdict in judge.score(enumerate(items))]


@pytest.mark.parametrize("name", ["scores.jsonl", "scores.parquet"])
def test_score_is_found_by_candidate_id(tmp_path, name):
    path = write(tmp_path / name, {"candidate_id": "c2", "score": 0.25}, {"candidate_id": "c1", "score": 3.0})
    assert look_up(path, item("c1"), item("c2")) == [(3.0, None), (0.25, None)]


@pytest.mark.parametrize("name", ["scores.jsonl", "scores.parquet"])
@pytest.mark.parametrize("prompt", [USER["content"], [USER]])
def test_score_is_found_by_prompt_and_response(tmp_path, name, prompt):
    path = write(tmp_path / name, {"prompt": prompt, "response": "four", "score": 2, "note": "unread"})
    assert look_up(path, item(text="four"), item(text="five")) == [(2.0, None), (None, "not_recorded")]


def test_prompt_as_text_stands_for_one_user_message_alone(tmp_path):
    system = {"role": "system", "content": "Be brief."}
    path = write(tmp_path / "scores.jsonl", {"prompt": USER["content"], "response": "four", "score": 2})
    assert look_up(path, item(messages=[system, USER])) == [(None, "not_recorded")]


def test_missing_row_and_row_without_a_score_are_unscored(tmp_path):
    path = write(tmp_path / "scores.jsonl", {"candidate_id": "c1", "score": None})
    assert look_up(path, item("c1"), item("c2")) == [(None, "not_recorded")] * 2


def test_score_that_is_not_finite_is_unscored(tmp_path):
    path = write(tmp_path / "scores.jsonl", {"candidate_id": "c1", "score": float("nan")})
    assert look_up(path, item("c1")) == [(None, "not_finite")]


def test_same_row_twice_is_fine(tmp_path):
    path = write(tmp_path / "scores.jsonl", *[{"candidate_id": "c1", "score": 1}] * 2)
    assert look_up(path, item("c1")) == [(1.0, None)]


@pytest.mark.parametrize("other", [2.0, None])
def test_contradicting_rows_are_an_error_that_names_file_and_row(tmp_path, other):
    rows = [{"candidate_id": "c1", "score": 1}, {"candidate_id": "c2", "score": 1}, {"candidate_id": "c1"}]
    rows[2]["score"] = other
    shown = "not_recorded" if other is None else other
    with pytest.raises(ValueError, match=rf"scores\.jsonl, line 3: score {shown} contradicts .* has 1\.0"):
        look_up(write(tmp_path / "scores.jsonl", *rows))


def test_line_number_counts_blank_lines(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_text('\n\n{"candidate_id": "c1"}\n')
    with pytest.raises(ValueError, match=r"scores\.jsonl, line 3: needs score"):
        look_up(path)


def test_two_answers_of_one_text_need_not_agree_if_they_have_ids(tmp_path):
    row = {"prompt": "two?", "response": "four"}
    path = write(tmp_path / "s.jsonl", *[row | {"candidate_id": f"c{n}", "score": n} for n in (1, 2)])
    assert look_up(path, item("c1"), item("c2")) == [(1.0, None), (2.0, None)]


@pytest.mark.parametrize("name", ["scores.jsonl", "scores.parquet"])
def test_prompt_of_several_messages_may_be_json_in_a_text(tmp_path, name):
    system = {"role": "system", "content": "Be brief."}
    path = write(tmp_path / name, {"prompt": json.dumps([system, USER]), "response": "four", "score": 2})
    assert look_up(path, item(messages=[system, USER]), item()) == [(2.0, None), (None, "not_recorded")]


@pytest.mark.parametrize("prompt", ["[1, 2]", "[]", "[citation needed]", '[{"role": "user"}]', "[" * 100_000])
def test_prompt_that_only_looks_like_messages_is_a_text(tmp_path, prompt):
    path = write(tmp_path / "scores.jsonl", {"prompt": prompt, "response": "four", "score": 2})
    assert look_up(path, item(messages=[{"role": "user", "content": prompt}])) == [(2.0, None)]


@pytest.mark.parametrize("text", ["nul \0", "lone \ud800 surrogate", "", "\u2028", "x" * 1_000_000])
def test_any_text_is_found(tmp_path, text):
    path = write(tmp_path / "s.jsonl", {"prompt": text, "response": text, "score": 1})
    assert look_up(path, item(text=text, messages=[{"role": "user", "content": text}])) == [(1.0, None)]


def test_key_does_not_mix_up_where_texts_begin(tmp_path):
    path = write(tmp_path / "s.jsonl", {"prompt": "ab", "response": "c", "score": 1})
    assert look_up(path, item("ab", "bc", [{"role": "user", "content": "a"}])) == [(None, "not_recorded")]


def test_aspects_uncertainty_and_rationale_are_carried(tmp_path):
    row = {"candidate_id": "c1", "score": 1.5, "aspects": {"honest": 2, "clear": 1.0}, "uncertainty": 0.5}
    row |= {"rationale": "Short."}
    expected = Verdict(1.5, aspects={"honest": 2.0, "clear": 1.0}, uncertainty=0.5, rationale="Short.")
    for name in ("scores.jsonl", "scores.parquet"):
        with Recorded(RecordedConfig(kind="recorded", path=write(tmp_path / name, row))) as judge:
            assert dict(judge.score([(0, item())])) == {0: expected}


def test_scores_that_the_judging_stage_wrote_can_be_read_back(tmp_path):
    verdicts = [Verdict(1.5, aspects={"a": 1.0}, uncertainty=0.5), Verdict(None, reason="timeout"), Verdict(0.0)]
    items = [item(f"c{n}") for n in range(3)]
    pq.write_table(scores_table("judge", items, verdicts), tmp_path / "scores.parquet")
    with Recorded(RecordedConfig(kind="recorded", path=tmp_path / "scores.parquet")) as judge:
        assert [verdict for _, verdict in judge.score(enumerate(items))] == verdicts


def test_a_budget_that_was_spent_elsewhere_does_not_stop_this_judge(tmp_path):
    row = {"candidate_id": "c1", "score": None, "reason": "budget"}
    assert look_up(write(tmp_path / "scores.jsonl", row), item()) == [(None, "not_recorded")]


@pytest.mark.parametrize("score", [True, 1, 1.0, Decimal("1.0")])
def test_any_kind_of_number_is_a_score(tmp_path, score):
    pq.write_table(pa.table({"candidate_id": ["c1"], "score": [score]}), tmp_path / "scores.parquet")
    assert look_up(tmp_path / "scores.parquet", item()) == [(1.0, None)]


def test_integer_beyond_all_floats_is_not_finite(tmp_path):
    assert look_up(write(tmp_path / "s.jsonl", {"candidate_id": "c1", "score": 10**400}), item()) == [
        (None, "not_finite")
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"candidate_id": "c1"}, "line 1: needs score"),
        ({"candidate_id": "c1", "score": "good"}, "line 1: score must be a number or null, got 'good'"),
        ({"candidate_id": 7, "score": 1}, "line 1: candidate_id must be text, got 7"),
        ({"prompt": "two?", "score": 1}, r"line 1: needs candidate_id, or both .* got \['prompt', 'score'\]"),
        ({"prompt": "two?", "response": 4, "score": 1}, "line 1: response must be text, got 4"),
        ({"prompt": 2, "response": "4", "score": 1}, "line 1: prompt must be text or a list of messages, got 2"),
        ({"prompt": ["two?"], "response": "4", "score": 1}, "line 1: a message .* needs role and content"),
        ({"prompt": [{"role": "user"}], "response": "4", "score": 1}, "line 1: a message .* needs role and content"),
        ({"candidate_id": "c1", "score": 1, "aspects": [1]}, "line 1: aspects must be numbers by name"),
        ({"candidate_id": "c1", "score": 1, "aspects": {"a": "b"}}, r"line 1: aspects\.a must be a number"),
        ({"candidate_id": "c1", "score": 1, "uncertainty": "low"}, "line 1: uncertainty must be a number"),
        ({"candidate_id": "c1", "score": 1, "rationale": 2}, "line 1: rationale must be text"),
        (["c1", 1], "line 1 must be a JSON object, got list"),
    ],
)
def test_row_of_another_form_is_an_error_that_names_file_and_row(tmp_path, row, message):
    with pytest.raises(ValueError, match=rf"scores\.jsonl, {message}"):
        look_up(write(tmp_path / "scores.jsonl", row))


@pytest.mark.parametrize("line", [b'{"candidate_id": ', b'{"candidate_id": "\xff", "score": 1}', b"[" * 100_000])
def test_line_that_is_not_json_is_an_error_that_names_it(tmp_path, line):
    path = write(tmp_path / "scores.jsonl", {"candidate_id": "c1", "score": 1})
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(ValueError, match=r"scores\.jsonl, line 2 is not JSON"):
        look_up(path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"candidate_id": ["c1"], "points": [1]}, r"needs score, and candidate_id .* got \['candidate_id', 'points'\]"),
        ({"prompt": ["p"], "score": [1]}, "needs score, and candidate_id or both prompt and response"),
        ({"candidate_id": ["c1", "c2"], "score": ["1", "2"]}, "row 1: score must be a number or null, got '1'"),
        ({"candidate_id": [7], "score": [1]}, "row 1: candidate_id must be text, got 7"),
        ({"candidate_id": ["a", None], "score": [1, 1]}, r"row 2: needs candidate_id, .* got \['score'\]"),
    ],
)
def test_parquet_of_another_form_is_an_error_that_names_file_and_row(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    with pytest.raises(ValueError, match=rf"scores\.parquet,? {message}"):
        look_up(tmp_path / "scores.parquet")


def test_file_that_is_missing_or_of_another_kind_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"path must end in \.parquet or \.jsonl"):
        look_up(tmp_path / "scores.csv")
    with pytest.raises(ValueError, match=r"path .*scores\.jsonl is no file"):
        look_up(tmp_path / "scores.jsonl")
    (tmp_path / "scores.parquet").write_text("no Parquet")
    with pytest.raises(ValueError, match=r"scores\.parquet is not Parquet"):
        look_up(tmp_path / "scores.parquet")


def test_texts_are_not_kept_in_memory(tmp_path):
    rows = [{"prompt": f"{n} " + "long " * 200, "response": "text " * 200, "score": n / 7} for n in range(20_000)]
    path = write(tmp_path / "scores.parquet", *rows)
    tracemalloc.start()
    try:
        scores = read_scores(path)
        bytes_a_row = tracemalloc.get_traced_memory()[0] / len(scores)
    finally:
        tracemalloc.stop()
    assert len(scores) == 20_000
    assert bytes_a_row < 300


@given(st.dictionaries(st.text(min_size=1), st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_every_recorded_score_is_found_again(scores):
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "s.jsonl", *[{"candidate_id": id, "score": score} for id, score in scores.items()])
        assert look_up(path, *map(item, scores)) == [(score, None) for score in scores.values()]
