import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.judgebench import COLUMNS, read_rows, replay

A, B, TIE, NONE = "So: [[A>>B]]", "So: [[B>A]]", "So: [[A=B]]", "I can't say."


def write(path, rows, **changes):
    table = pa.Table.from_pylist(rows, pa.schema([(name, pa.large_string()) for name in COLUMNS]))
    for name, column in changes.items():
        table = table.drop_columns(name) if column is None else table.set_column(COLUMNS.index(name), name, column)
    pq.write_table(table, path)
    return path


def row(label="A>B", ab=A, recorded_ab="A>B", ba=B, recorded_ba="B>A"):
    return {
        "pair_id": "p", "label": label, "reply_ab": ab, "decision_ab": recorded_ab, "reply_ba": ba,
        "decision_ba": recorded_ba,
    }  # fmt: skip


def test_right_in_both_orders_is_right_and_consistent(tmp_path):
    outcome = replay(read_rows(write(tmp_path / "f.parquet", [row()])))
    assert (outcome.pairs, outcome.replies, outcome.agree, outcome.accuracy) == (1, 2, 2, 100)
    assert (outcome.inconsistent, outcome.unparsed, outcome.differ) == (0, 0, [])


@pytest.mark.parametrize(
    ("ab", "ba", "accuracy", "inconsistent"),
    [
        (A, B, 100, 0),
        (A, TIE, 100, 1),
        (TIE, B, 100, 1),
        (TIE, TIE, 0, 0),
        (A, A, 0, 1),
        (B, A, 0, 0),
        (A, NONE, 100, 1),
        (B, NONE, 0, 1),
        (NONE, NONE, 0, 0),
    ],
)
def test_two_orders_are_scored_as_the_benchmark_does(ab, ba, accuracy, inconsistent):
    outcome = replay([row(ab=ab, ba=ba)])
    assert (outcome.accuracy, outcome.inconsistent) == (accuracy, inconsistent)
    assert outcome.unparsed == [ab, ba].count(NONE)


def test_label_says_which_answer_is_right():
    assert replay([row(label="B>A")]).accuracy == 0
    assert replay([row(label="B>A", ab=B, ba=A)]).accuracy == 100


def test_decision_that_differs_from_the_recorded_one_is_listed():
    outcome = replay([row(recorded_ba="A=B"), row(ab=None, recorded_ab=None)])
    assert (outcome.replies, outcome.agree, outcome.unparsed) == (4, 3, 1)
    assert outcome.differ == [{"pair_id": "p", "order": "ba", "recorded": "A=B", "ours": "B>A", "reason": None}]


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ([row()], {"reply_ba": None}, "lacks reply_ba; it has pair_id"),
        ([row()], {"label": pa.array([1])}, "label must be text, it is int64"),
        ([row(label="A")], {}, "label must be one of A>B, B>A, got 'A'"),
        ([row(label=None)], {}, "label must be one of A>B, B>A, got None"),
        ([row(recorded_ab="A>>B")], {}, "decision_ab must be one of A>B, A=B, B>A, null"),
        ([], {}, "no rows"),
    ],
)
def test_file_of_another_shape_is_refused(tmp_path, rows, changes, message):
    path = write(tmp_path / "f.parquet", rows, **changes)
    with pytest.raises(ValueError, match=message):
        read_rows(path)


def test_file_that_is_no_parquet_or_missing_is_refused(tmp_path):
    (tmp_path / "f.parquet").write_text("no")
    for name in ("f.parquet", "g.parquet"):
        with pytest.raises(ValueError, match=rf"{name} can't be read"):
            read_rows(tmp_path / name)


def test_command_prints_one_json_object_and_refuses_bad_files_as_wrong_usage(tmp_path):
    command = [sys.executable, "-m", "benchmarks.judgebench", "--json"]
    done = subprocess.run(
        [*command, write(tmp_path / "f.parquet", [row()])], capture_output=True, text=True, check=True
    )
    assert set(json.loads(done.stdout)) >= {"pairs", "replies", "agree", "accuracy", "inconsistent", "unparsed"}
    done = subprocess.run([*command, tmp_path / "none"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "can't be read" in done.stderr
