"""Importing answers that others sampled."""

import json
from pathlib import Path

import pytest

from generation.config import PromptsConfig
from generation.identity import imported_candidate_id
from generation.imports import IMPORTED_SCORES, ImportColumns, ImportedTables, import_candidates
from generation.schema import CANDIDATES, PROMPTS

DEFAULT = ImportColumns()


def read(tmp_path: Path, rows: list, columns: ImportColumns = DEFAULT, **fields) -> ImportedTables:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return import_candidates(PromptsConfig(path=path, **fields), columns)


def test_rows_of_one_prompt_become_its_candidates(tmp_path):
    rows = [
        {"prompt": "Hi", "response": "Yes?", "model": "a", "score": 2, "topic": "x"},
        {"prompt": "Bye", "response": "So long", "model": "a", "score": None, "topic": "y"},
        {"prompt": "Hi", "response": "Yes?", "model": "b", "score": float("nan"), "topic": "x"},
    ]
    tables = read(tmp_path, rows)
    assert (tables.prompts.schema, tables.candidates.schema, tables.scores.schema) == (
        PROMPTS,
        CANDIDATES,
        IMPORTED_SCORES,
    )
    assert tables.prompts["meta"].to_pylist() == ['{"topic": "x"}', '{"topic": "y"}']
    hi, bye = tables.prompts["prompt_id"].to_pylist()
    candidates = tables.candidates.to_pylist()
    assert [(row["prompt_id"], row["sample_index"], row["policy"]) for row in candidates] == [
        (hi, 0, "a"),
        (bye, 0, "a"),
        (hi, 1, "b"),
    ]
    assert candidates[0]["candidate_id"] == imported_candidate_id(hi, "a", "Yes?")
    assert candidates[0]["token_ids"] is None
    assert tables.scores["score"].to_pylist() == [2.0, None, None]
    assert tables.scores["candidate_id"] == tables.candidates["candidate_id"]
    assert tables.drops.num_rows == 0


def test_without_policy_and_score_the_file_stands_for_the_author(tmp_path):
    tables = read(tmp_path, [{"question": "Hi", "text": "Yes?"}], ImportColumns("text"), prompt_column="question")
    assert tables.candidates["policy"].to_pylist() == ["answers.jsonl"]
    assert tables.scores.num_rows == 0


def test_repeated_and_empty_answers_are_dropped(tmp_path):
    answer = {"prompt": "Hi", "response": "Yes?"}
    rows = [answer, answer, {"prompt": "Hi", "response": " "}, {"prompt": "Hi"}, {"prompt": "", "response": "Yes?"}]
    tables = read(tmp_path, rows)
    assert tables.candidates.num_rows == 1
    assert tables.drops["reason"].to_pylist() == ["duplicate_candidate"] + ["empty_response"] * 2 + ["empty_prompt"]
    assert set(tables.drops["kind"].to_pylist()) == {"candidate"}
    ids = tables.drops["id"].to_pylist()
    assert ids[0] == tables.candidates["candidate_id"][0].as_py() + "#answers.jsonl#2"
    assert len(set(ids)) == 4


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        ({"prompt": "Hi", "text": "Yes?"}, DEFAULT, r"no column 'response'; it has prompt, text\. Set the imp"),
        ({"prompt": "Hi", "response": "a"}, ImportColumns(score="gold"), "no column 'gold'"),
        ({"prompt": "Hi", "response": "a", "score": "good"}, DEFAULT, "row 1: score is 'good', which is no nu"),
        (
            {"prompt": "Hi", "response": ""},
            ImportColumns(),
            "no candidate among 1 rows; dropped: {'empty_response': 1}",
        ),
    ],
)
def test_a_bad_import_is_refused(tmp_path, row, columns, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, [row], columns)


def test_rows_are_numbered_in_their_own_file(tmp_path):
    answer = json.dumps({"prompt": "Hi", "response": "Yes?", "policy": "a"})
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        (tmp_path / name).write_text(answer)
    tables = import_candidates(PromptsConfig(path=tmp_path), DEFAULT)
    (id,) = tables.candidates["candidate_id"].to_pylist()
    assert tables.drops["id"].to_pylist() == [f"{id}#b.jsonl#1", f"{id}#c.jsonl#1"]
    (tmp_path / "c.jsonl").write_text(json.dumps({"prompt": "Hi", "response": "a", "score": "good"}))
    with pytest.raises(ValueError, match=r"c\.jsonl, row 1: score is 'good'"):
        import_candidates(PromptsConfig(path=tmp_path), DEFAULT)
