"""Reading prompts: every row of a source becomes a prompt or a drop with a reason."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.config import PromptsConfig, SplitConfig
from generation.prompts import assign_rounds, read_prompts, take_round, take_split
from generation.schema import DROPS, PROMPTS
from generation.sources import source_files


def write_jsonl(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path, run_seed: int = 0, **fields):
    return read_prompts(PromptsConfig(path=path, **fields), run_seed)


def contents(table: pa.Table) -> list[str]:
    return [messages[-1]["content"] for messages in table["messages"].to_pylist()]


def reasons(table: pa.Table) -> list[str]:
    return table["reason"].to_pylist()


def test_a_row_becomes_a_prompt_with_its_other_columns_in_meta(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"prompt": "2 + 2?", "answer": 4, "genre": "maths", "split": "eval"}])
    tables = read(path, system_prompt="Be short.")
    assert tables.prompts.schema == PROMPTS
    assert tables.drops.schema == DROPS
    assert tables.drops.num_rows == 0
    (row,) = tables.prompts.to_pylist()
    assert row.pop("prompt_id")
    assert row == {
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "2 + 2?"}],
        "reference_answer": "4",
        "source": "a.jsonl",
        "split": "eval",
        "round": None,
        "meta": '{"genre": "maths"}',
    }


def test_messages_keep_their_own_system_prompt(tmp_path):
    messages = [{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "Hi", "name": "Ada"}]
    (row,) = read(write_jsonl(tmp_path / "a.jsonl", [{"messages": messages}]), system_prompt="No.").prompts.to_pylist()
    assert row["messages"] == [{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "Hi"}]


def test_parquet_and_csv_give_the_same_prompts_as_jsonl(tmp_path):
    conversation = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes, \"you\"?"},
                    {"role": "user", "content": "A,\nb"}]  # fmt: skip
    write_jsonl(tmp_path / "a.jsonl", [{"messages": conversation}])
    pq.write_table(pa.table({"messages": [conversation]}), tmp_path / "a.parquet")
    quoted = json.dumps(conversation).replace('"', '""')
    (tmp_path / "a.csv").write_text(f'messages,note\n"{quoted}",\n')
    (tmp_path / "plain.csv").write_text('prompt,answer\n"A,\nb",007\n')
    ids = [read(tmp_path / f"a.{kind}").prompts["prompt_id"][0].as_py() for kind in ("jsonl", "parquet", "csv")]
    assert len(set(ids)) == 1
    plain = read(tmp_path / "plain.csv").prompts.to_pylist()[0]
    assert (plain["messages"][0]["content"], plain["reference_answer"]) == ("A,\nb", "007")


def test_a_folder_is_read_file_by_file_up_to_the_limit(tmp_path):
    write_jsonl(tmp_path / "b.jsonl", [{"prompt": "three"}, {"prompt": "four"}])
    write_jsonl(tmp_path / "a.jsonl", [{"prompt": "one"}, {"prompt": "two"}])
    (tmp_path / "README.md").write_text("prompts")
    assert contents(read(tmp_path, limit=3).prompts) == ["one", "two", "three"]
    assert read(tmp_path, limit=2).prompts["source"].to_pylist() == ["a.jsonl", "a.jsonl"]


def test_rows_are_numbered_in_their_own_file(tmp_path):
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        write_jsonl(tmp_path / name, [{"prompt": "one"}, {"prompt": ""}])
    tables = read(tmp_path)
    (id,) = tables.prompts["prompt_id"].to_pylist()
    assert tables.drops["id"].to_pylist() == [
        "a.jsonl#2",
        f"{id}#b.jsonl#1",
        "b.jsonl#2",
        f"{id}#c.jsonl#1",
        "c.jsonl#2",
    ]
    write_jsonl(tmp_path / "c.jsonl", [{"prompt": "two", "split": "test"}])
    with pytest.raises(ValueError, match=r"c\.jsonl, row 1: split 'test' is none of"):
        read(tmp_path)


def test_source_files_are_those_that_are_read_in_their_order(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.jsonl", "sub/c.csv", "a.parquet", ".hidden.jsonl", "notes.txt"):
        (tmp_path / name).touch()
    assert source_files(tmp_path) == [tmp_path / name for name in ("a.parquet", "b.jsonl", "sub/c.csv")]
    assert source_files(tmp_path / "b.jsonl") == [tmp_path / "b.jsonl"]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        source_files(tmp_path / "nowhere")


def test_a_data_set_of_the_datasets_library_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    write_jsonl(tmp_path / "set" / "train.jsonl", [{"prompt": "one", "label": 1}, {"prompt": "two", "label": 2}])
    tables = read_prompts(PromptsConfig(dataset=str(tmp_path / "set"), limit=1), 0)
    assert contents(tables.prompts) == ["one"]
    assert tables.prompts["meta"].to_pylist() == ['{"label": 1}']


def test_json_that_is_no_conversation_is_a_question(tmp_path):
    text = '[{"a": 1}] What is this?'
    assert contents(read(write_jsonl(tmp_path / "a.jsonl", [{"prompt": text}, {"prompt": "[1]"}])).prompts) == [
        text,
        "[1]",
    ]


def test_rows_without_an_answerable_prompt_are_dropped_with_a_reason(tmp_path):
    rows = [
        {"prompt": "good"}, {"prompt": None}, {"prompt": " \n"}, {"other": 1}, {"prompt": 7}, {"prompt": []},
        {"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"prompt": [{"role": "user", "content": None}]}, {"prompt": "good"},
    ]  # fmt: skip
    tables = read(write_jsonl(tmp_path / "a.jsonl", rows))
    assert contents(tables.prompts) == ["good"]
    assert reasons(tables.drops) == ["empty_prompt"] * 3 + ["bad_messages", "empty_prompt", "last_not_user",
                                                            "bad_messages", "duplicate_prompt"]  # fmt: skip
    last = tables.drops.to_pylist()[-1]
    assert last["id"] == tables.prompts["prompt_id"][0].as_py() + "#a.jsonl#9"
    assert (last["kind"], last["stage"], last["step"], last["context"]) == ("prompt", "prompts", "duplicates", "good")


VALUES = st.one_of(
    st.none(),
    st.sampled_from(["a", "b", " ", "[1]"]),
    st.integers(),
    st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.sampled_from("ab ")})
    ),
)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.fixed_dictionaries({"prompt": VALUES, "split": st.sampled_from([None, "eval", "train"])})))
def test_every_row_is_a_prompt_or_a_drop(tmp_path_factory, rows):
    path = write_jsonl(tmp_path_factory.mktemp("rows") / "a.jsonl", [{"prompt": "always"}, *rows])
    tables = read(path, per_round=2)
    ids = tables.prompts["prompt_id"].to_pylist() + tables.drops["id"].to_pylist()
    assert len(ids) == len(set(ids)) == len(rows) + 1


@settings(deadline=None)  # a busy machine is no failure
@given(st.sets(st.text(alphabet="abc", min_size=1), min_size=1), st.sets(st.text(alphabet="abc", min_size=1)))
def test_added_prompts_move_no_old_one_between_splits(tmp_path_factory, old, new):
    folder = tmp_path_factory.mktemp("rows")
    split = SplitConfig(eval_share=0.3, vault_share=0.2)
    before = read(write_jsonl(folder / "a.jsonl", [{"prompt": text} for text in old]), split=split).prompts
    both = [{"prompt": text} for text in new | old]
    after = read(write_jsonl(folder / "b.jsonl", both), split=split).prompts
    splits = dict(zip(after["prompt_id"].to_pylist(), after["split"].to_pylist(), strict=True))
    for row in before.to_pylist():
        assert splits[row["prompt_id"]] == row["split"]


def test_per_round_deals_disjoint_rounds_that_the_run_seed_decides(tmp_path):
    rows = [{"prompt": f"prompt {n}", "split": "eval" if n == 0 else "train"} for n in range(8)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    prompts = read(path, per_round=3).prompts
    assert sorted(prompts["round"].to_pylist()[1:]) == [1, 1, 1, 2, 2, 2, 3]
    assert prompts["round"][0].as_py() is None
    assert take_round(prompts, 2).num_rows == 3
    assert read(path, per_round=3).prompts["round"] == prompts["round"]
    assert any(read(path, run_seed=seed, per_round=3).prompts["round"] != prompts["round"] for seed in range(1, 5))


def test_rounds_are_divided_evenly_without_per_round(tmp_path):
    rows = [{"prompt": f"prompt {n}", "split": "eval" if n == 0 else "train"} for n in range(8)]
    prompts = read(write_jsonl(tmp_path / "a.jsonl", rows)).prompts
    assert prompts["round"].null_count == 8
    divided = assign_rounds(prompts, 3)
    assert divided.schema == PROMPTS
    assert sorted(take_round(divided, round).num_rows for round in (1, 2, 3)) == [2, 2, 3]
    assert take_round(divided, 4).num_rows == 0


def test_a_limited_split_is_a_part_of_the_whole_one_and_grows_in_order(tmp_path):
    rows = [{"prompt": f"prompt {n}", "split": "eval" if n % 2 else "train"} for n in range(20)]
    prompts = read(write_jsonl(tmp_path / "a.jsonl", rows)).prompts
    whole = take_split(prompts, "eval", None)["prompt_id"].to_pylist()
    four = take_split(prompts, "eval", 4)["prompt_id"].to_pylist()
    assert len(whole) == 10
    assert four == take_split(prompts, "eval", 7)["prompt_id"].to_pylist()[:4]
    assert set(four) < set(whole)
    assert take_split(prompts, "vault", None).num_rows == 0


def broken(tmp_path: Path, name: str, data: bytes) -> Path:
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"prompt": "a"}\n\n{"prompt": \n', "a.jsonl, line 3: .* one JSON object"),
        ("a.jsonl", b'"text"\n', "a.jsonl, line 1: a str; each line must be one JSON object"),
        ("a.jsonl", b'{"prompt": "\xff"}\n', "a.jsonl, line 1: .*utf-8"),
        ("a.jsonl", b'{"prompt": "\\ud83d"}\n', "a.jsonl, line 1: .*surrogates"),
        ("a.csv", b"prompt,answer\na,b\na\n", "a.csv, line 3: not 2 fields; quote fields"),
        ("a.csv", b'prompt\n"a\n', r"a.csv, line \d: unexpected end of data; quote fields"),
        ("a.csv", b"prompt\n\xff\n", "a.csv, line .*utf-8"),
        ("a.parquet", b"PAR1 no", "a.parquet is no whole Parquet file"),
        ("a.xlsx", b"", "a.xlsx: files that end in .jsonl, .parquet, .csv can be read"),
        ("a.jsonl", b"", "no prompt among the 0 rows of a.jsonl"),
        ("a.jsonl", b'{"prompt": ""}\n', "no prompt among the 1 rows of a.jsonl; dropped: {'empty_prompt': 1}"),
        ("a.jsonl", b'{"question": "a", "id": 1}\n',
         "a.jsonl has no column 'prompt'; it has question, id. Set prompts.prompt_column to one of them"),
        ("a.jsonl", b'{"prompt": "a", "split": "test"}\n', "a.jsonl, row 1: split 'test' .* call it eval"),
        ("a.jsonl", b'{"prompt": "a", "split": "Train"}\n', "a.jsonl, row 1: split 'Train' is none of train, eval"),
    ],
)  # fmt: skip
def test_a_broken_source_is_refused_with_the_place_and_the_fix(tmp_path, name, data, message):
    with pytest.raises(ValueError, match=message):
        read(broken(tmp_path, name, data))


def test_a_missing_answer_column_is_named(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"prompt": "a"}])
    with pytest.raises(ValueError, match=r"no column 'gold'; it has prompt. Set prompts.answer_column"):
        read(path, answer_column="gold")


def test_a_prompt_column_that_the_recipe_names_is_not_replaced_by_messages(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"messages": [{"role": "user", "content": "a"}]}])
    with pytest.raises(ValueError, match="no column 'question'"):
        read(path, prompt_column="question")


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl does not exist: give a file"):
        read(tmp_path / "nowhere.jsonl")
    with pytest.raises(ValueError, match=r"holds no file that ends in \.jsonl"):
        read(tmp_path)
