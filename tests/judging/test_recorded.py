import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from judging.config import RecordedConfig
from judging.judge import Item
from judging.recorded import Recorded

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
    with pytest.raises(ValueError, match=rf"scores\.jsonl, row 3: score {other} contradicts .* has 1\.0"):
        look_up(write(tmp_path / "scores.jsonl", *rows))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"candidate_id": "c1"}, "row 1: needs score"),
        ({"candidate_id": "c1", "score": "good"}, "row 1: score must be a number or null, got 'good'"),
        ({"prompt": "two?", "score": 1}, "row 1: needs candidate_id, or both prompt and response"),
        (["c1", 1], "line 1 must be a JSON object, got list"),
    ],
)
def test_row_of_another_form_is_an_error_that_names_file_and_row(tmp_path, row, message):
    with pytest.raises(ValueError, match=rf"scores\.jsonl, {message}"):
        look_up(write(tmp_path / "scores.jsonl", row))


def test_line_that_is_not_json_is_an_error_that_names_it(tmp_path):
    path = write(tmp_path / "scores.jsonl", {"candidate_id": "c1", "score": 1})
    path.write_text(path.read_text() + '{"candidate_id": \n')
    with pytest.raises(ValueError, match=r"scores\.jsonl, line 2 is not JSON"):
        look_up(path)


def test_file_of_another_kind_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"path must end in \.parquet or \.jsonl"):
        look_up(tmp_path / "scores.csv")
