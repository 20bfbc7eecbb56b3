"""Tables of other people's as input of a single command, and two commands that write one output."""

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.alone import check_new_folder, lay_input, load_prompts, load_table, partial_output
from flows.child import HealableError, StageError
from flows.judge_alone import judge_alone
from generation.schema import CANDIDATES, PROMPTS
from judging.checking.timed import LIMIT_S
from judging.config import PanelConfig, RulesConfig
from judging.schema import SCORES
from tests.command_line import BIN, Prefloop

ANSWERS = {"prompt_id": ["p", "p", "q"], "candidate_id": ["a", "b", "c"], "text": ["x", "", "z"]}


def write(path: Path, **columns: list) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": [None, None, None]}, r"a.parquet: column text is empty in 3 of 3 rows, the first is row 1"),
        ({"text": ["x", None, "z"]}, r"column text is empty in 1 of 3 rows, the first is row 2: fill it"),
        ({"candidate_id": ["a", "b", None]}, r"column candidate_id is empty in 1 of 3 rows, the first is row 3"),
        ({"prompt_id": ["p", None, "q"]}, r"column prompt_id is empty in 1 of 3 rows, the first is row 2"),
        ({"candidate_id": ["b", "a", "b"]}, r"1 of 2 candidate_ids stand in more than one row, the first is b"),
    ],
)
def test_answers_that_are_not_whole_are_named(tmp_path: Path, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        load_table(write(tmp_path / "a.parquet", **ANSWERS | changes), CANDIDATES)


def test_a_column_that_rows_are_about_must_be_there(tmp_path: Path):
    with pytest.raises(ValueError, match=r"a.parquet: no column text; it has prompt_id, candidate_id"):
        load_table(
            write(tmp_path / "a.parquet", **{name: ANSWERS[name] for name in ("prompt_id", "candidate_id")}), CANDIDATES
        )
    with pytest.raises(ValueError, match=r"s.parquet: no column score; it has prompt_id, candidate_id, text"):
        load_table(write(tmp_path / "s.parquet", **ANSWERS), SCORES)


def test_an_empty_answer_and_a_missing_score_are_rows_like_others(tmp_path: Path):
    assert load_table(write(tmp_path / "a.parquet", **ANSWERS), CANDIDATES)["text"].to_pylist() == ["x", "", "z"]
    scores = load_table(write(tmp_path / "s.parquet", **ANSWERS, score=[1.0, None, 2.0]), SCORES)
    assert scores["score"].null_count == 1


@pytest.mark.parametrize("messages", [None, []])
def test_a_prompt_without_messages_is_named(tmp_path: Path, messages: list | None):
    path = tmp_path / "p.parquet"
    rows = [
        {"prompt_id": "p", "messages": [{"role": "user", "content": "?"}]},
        {"prompt_id": "q", "messages": messages},
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=PROMPTS), path)
    with pytest.raises(ValueError, match=r"p.parquet: column messages is empty in 1 of 2 rows, the first is row 2"):
        load_prompts(path)


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path):
    (tmp_path / "p.parquet").write_text("")
    with pytest.raises(ValueError, match=r"p.parquet can't be read as Parquet"):
        load_prompts(tmp_path / "p.parquet")
    with pytest.raises(ValueError, match=r"p.parquet can't be read as Parquet"):
        load_table(tmp_path / "p.parquet", SCORES)


@pytest.mark.parametrize(("min_members", "n_unscored"), [(None, 2), (1, 0)])
def test_a_panel_alone_is_held_against_the_unscored_share_that_is_allowed(tmp_path: Path, min_members, n_unscored):
    """Each member leaves one of four answers unscored, the panel two."""
    ids = ["a", "b", "c", "d"]
    answers = pa.table({"prompt_id": ["p"] * 4, "candidate_id": ids, "text": ids})
    pq.write_table(answers, tmp_path / "a.parquet")
    members = []
    for name, missing in (("one", 0), ("two", 3)):
        scores = [None if row == missing else float(row) for row in range(4)]
        path = write(tmp_path / f"{name}.parquet", candidate_id=ids, score=scores)
        members.append({"judge": {"kind": "recorded", "path": path}})
    panel = PanelConfig.model_validate({"kind": "panel", "members": members, "min_members": min_members})
    prompts = pa.Table.from_pylist([{"prompt_id": "p", "messages": [{"role": "user", "content": "?"}]}], schema=PROMPTS)

    def judge(max_unscored: float) -> pa.Table:
        return judge_alone(
            tmp_path / f"job-{max_unscored}",
            prompts,
            load_table(tmp_path / "a.parquet", CANDIDATES),
            panel,
            field="--set",
            replies=tmp_path / "replies",
            max_unscored=max_unscored,
        )

    assert judge(0.5)["score"].null_count == n_unscored
    if n_unscored:
        with pytest.raises(StageError, match="2 of 4 candidates stayed unscored"):
            judge(0.25)
    else:
        assert judge(0.25)["score"].null_count == 0


def test_a_rule_that_takes_too_long_on_an_answer_is_not_tried_again(tmp_path: Path):
    answers = pa.Table.from_pylist(
        [
            {"prompt_id": "p", "candidate_id": "slow", "text": "a" * 40 + "b"},
            {"prompt_id": "p", "candidate_id": "quick", "text": "b"},
        ],
        schema=CANDIDATES,
    )
    messages = [{"role": "user", "content": "?"}]
    prompts = pa.Table.from_pylist([{"prompt_id": "p", "messages": messages}], schema=PROMPTS)
    rules = RulesConfig.model_validate({"kind": "rules", "rules": [{"rule": "regex", "pattern": "(a+)+$"}]})

    def judge(max_unscored: float) -> pa.Table:
        return judge_alone(
            tmp_path / f"job-{max_unscored}", prompts, answers, rules,
            field="--set", replies=tmp_path / "replies", max_unscored=max_unscored,
        )  # fmt: skip

    began = time.monotonic()
    assert judge(0.5)["reason"].to_pylist() == ["timeout", None]
    assert time.monotonic() - began < 2 * LIMIT_S
    with pytest.raises(StageError, match=r"--set: 1 of 2 candidates stayed unscored \(50.0%; timeout 1\)") as failed:
        judge(0.25)
    assert not isinstance(failed.value, HealableError)


def test_a_job_that_failed_before_it_did_anything_makes_room_for_a_corrected_one(tmp_path: Path):
    out = tmp_path / "out"

    def fail(parts: dict, *files: str) -> Path:
        with suppress(OSError), partial_output(out, parts) as folder:
            lay_input(folder, "pairs", pa.table({"a": [len(parts)]}))
            for name in files:
                (folder / name).parent.mkdir(parents=True)
                (folder / name).touch()
            raise OSError("broken")
        return folder

    fail({"rate": 1, "k": 2}, "policy/half.safetensors")
    folder = fail({"rate": 2})
    assert sorted(path.name for path in folder.iterdir()) == ["job.json", "out.lock", "pairs-in"]
    fail({"rate": 2}, "policy/checkpoints/checkpoint-10/complete.json")
    with pytest.raises(ValueError, match="holds an unfinished job with other settings"), partial_output(out, {}):
        pass
    with partial_output(out, {"rate": 2}):
        pass
    assert not folder.exists()


def test_a_model_is_written_into_a_new_folder_only(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    check_new_folder(tmp_path / "empty")
    check_new_folder(tmp_path / "new")
    for taken in (tmp_path / "file", tmp_path):
        with pytest.raises(ValueError, match="is not empty; give a new folder"):
            check_new_folder(taken)


@pytest.mark.slow
def test_two_commands_that_write_one_output_both_end_well(prefloop: Prefloop, tmp_path: Path, prefect_environment):
    (tmp_path / "slow_checks.py").write_text(
        "import time\n\ndef length(completions, **_):\n    time.sleep(5)\n"
        "    return [float(len(one[0]['content'])) for one in completions]\n"
    )
    pq.write_table(pa.table(ANSWERS), tmp_path / "a.parquet")
    rows = [{"prompt_id": name, "messages": [{"role": "user", "content": name}]} for name in "pq"]
    pq.write_table(pa.Table.from_pylist(rows, schema=PROMPTS), tmp_path / "p.parquet")
    files = ("--prompts", tmp_path / "p.parquet", "--candidates", tmp_path / "a.parquet")
    command = ("judge", "--kind", "verifier", "--set", "function=slow_checks:length", *files)
    command += ("--output", tmp_path / "s.parquet", "--json")
    environment = os.environ | prefect_environment | {"PYTHONPATH": str(tmp_path)}
    first = subprocess.Popen([str(BIN / "prefloop"), *map(str, command)], env=environment, stdout=subprocess.DEVNULL)
    while not (tmp_path / "s.parquet.partial" / "scores").exists():
        time.sleep(0.05)
    second = prefloop(*command, PYTHONPATH=str(tmp_path))
    assert first.wait() == second.code == 0
    assert pq.read_table(tmp_path / "s.parquet")["score"].to_pylist() == [1, 0, 1]
    assert not (tmp_path / "s.parquet.partial").exists()
