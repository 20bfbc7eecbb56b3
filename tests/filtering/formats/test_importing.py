import json
import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filtering.formats.catalogue import FORMATS
from filtering.formats.identities import hash_answer, hash_prompt
from filtering.formats.importing import import_pairs
from generation.schema import DROPS
from judging.schema import PAIRS

TRL = {"prompt": "2+2?", "chosen": "4", "rejected": "5"}


def write(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def pairs_of(imported):
    return pa.concat_tables([PAIRS.empty_table(), *(pq.read_table(file) for file in imported.files)])


def run(tmp_path, *rows, file_format=None, **options):
    return import_pairs(write(tmp_path / "mine.jsonl", *rows), file_format, tmp_path / "out", **options)


def test_a_pair_gets_ids_source_and_split(tmp_path):
    imported = run(tmp_path, TRL)
    assert (imported.format, imported.n_rows, imported.drops.num_rows) == ("trl", 1, 0)
    assert [file.name for file in imported.files] == ["pairs-00000.parquet"]
    prompt_id = hash_prompt([{"role": "user", "content": "2+2?"}])
    (pair,) = pairs_of(imported).to_pylist()
    assert {name: value for name, value in pair.items() if value is not None} == {
        "pair_id": "mine:0",
        "prompt_id": prompt_id,
        "messages": [{"role": "user", "content": "2+2?"}],
        "chosen_id": hash_answer(prompt_id, "4"),
        "rejected_id": hash_answer(prompt_id, "5"),
        "chosen": "4",
        "rejected": "5",
        "split": "train",
        "source": "mine.jsonl",
    }


def test_ids_sources_and_scores_of_the_file_are_kept(tmp_path):
    row = TRL | {"id": 7, "source": "maths", "score_chosen": 8, "score_rejected": "5.5"}
    pairs = pairs_of(run(tmp_path, row, row | {"id": None, "dataset": "other", "source": ""})).to_pylist()
    assert [pair["pair_id"] for pair in pairs] == ["7", "mine:1"]
    assert [pair["source"] for pair in pairs] == ["maths", "other"]
    assert [(pair["chosen_score"], pair["rejected_score"], pair["margin"]) for pair in pairs] == [(8.0, 5.5, 2.5)] * 2


def test_a_margin_without_scores_is_kept_and_nan_is_unknown(tmp_path):
    pairs = pairs_of(run(tmp_path, TRL | {"margin": 0.5}, TRL | {"margin": float("nan")}))
    assert pairs["margin"].to_pylist() == [0.5, None]


def test_a_score_that_is_no_number_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"jsonl, row 2: score_chosen is a text \('high'\), not a number of 64 bits"):
        run(tmp_path, TRL, TRL | {"score_chosen": "high"})
    with pytest.raises(
        ValueError, match=r"jsonl, row 1: score_chosen is a number \(10+\.\.\.\), not a number of 64 bits"
    ):
        run(tmp_path, TRL | {"score_chosen": 10**400})


def test_rows_that_are_no_pairs_stand_in_the_ledger(tmp_path):
    blank, null = TRL | {"prompt": " "}, TRL | {"rejected": None, "id": "n"}
    imported = run(tmp_path, TRL, blank, null, {"prompt": "long\n" * 99, "chosen": None})
    assert imported.drops.schema == DROPS
    assert imported.n_rows == pairs_of(imported).num_rows + imported.drops.num_rows == 4
    rows = imported.drops.to_pylist()
    assert [(row["id"], row["reason"]) for row in rows] == [
        ("mine:1", "empty_prompt"),
        ("n", "null_text"),
        ("mine:3", "null_text"),
    ]
    assert {(row["kind"], row["stage"], row["step"]) for row in rows} == {("pair", "filtering", "import")}
    assert rows[2]["context"] == ("long " * 40)


def test_text_that_is_no_utf8_is_dropped_with_its_reason(tmp_path):
    file = write(tmp_path / "mine.jsonl", TRL)
    file.write_bytes(file.read_bytes() + b'\n{"prompt": "caf\xe9", "chosen": "a", "rejected": "b"}')
    imported = import_pairs(file, None, tmp_path / "out")
    (drop,) = imported.drops.to_pylist()
    assert (drop["reason"], drop["id"], imported.n_rows) == ("bad_encoding", "mine:1", 2)
    assert "caf\ufffd" in drop["context"]


def test_half_surrogate_pairs_and_left_out_columns_are_told(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    pairs = pairs_of(run(tmp_path, TRL | {"chosen": "\ud83d NUL \x00", "notes": 1, "x": 2}))
    assert pairs["chosen"].to_pylist() == ["\ufffd NUL \x00"]
    assert "1 rows had half surrogate pairs, now U+FFFD" in caplog.text
    assert "columns that pairs do not have are left out: notes, x" in caplog.text


def test_equal_ids_name_both_rows(tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.jsonl", TRL | {"id": "x"}, TRL | {"id": "y"})
    write(tmp_path / "in" / "b.jsonl", TRL | {"id": "z"}, TRL | {"id": "y", "chosen": None})
    with pytest.raises(ValueError, match=r"a\.jsonl, row 2 and .*b\.jsonl, row 2 have the same id: make them distinct"):
        import_pairs(tmp_path / "in", None, tmp_path / "out")


def test_files_of_a_folder_have_one_format_and_ids_of_their_own(tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.jsonl", TRL)
    other = write(tmp_path / "in" / "b.jsonl", TRL)
    pairs = pairs_of(import_pairs(tmp_path / "in", None, tmp_path / "out"))
    assert (pairs["pair_id"].to_pylist(), pairs["source"].to_pylist()) == (["a:0", "b:0"], ["a.jsonl", "b.jsonl"])
    write(other, {"instruction": "?", "chosen": "a", "rejected": "b"})
    with pytest.raises(ValueError, match=r"b\.jsonl is no trl: it has no column prompt"):
        import_pairs(tmp_path / "in", None, tmp_path / "out")


def test_a_type_that_does_not_fit_names_file_row_and_field(tmp_path):
    with pytest.raises(ValueError, match=r"mine\.jsonl, row 2: chosen is a number \(4\), not a text, as trl has it"):
        run(tmp_path, TRL, TRL | {"chosen": 4}, file_format="trl")
    with pytest.raises(
        ValueError, match=r"row 1: chosen is a text .*not a list of messages .*trl_conversational_implicit"
    ):
        run(tmp_path, TRL, file_format="trl_conversational_implicit")
    with pytest.raises(ValueError, match="column score_std can't be read as double"):
        run(
            tmp_path,
            {"messages": [{"role": "user", "content": "?"}], "chosen": "a", "rejected": "b", "score_std": "much"},
        )


@pytest.mark.parametrize("name", ["empty.jsonl", "empty.json", "empty.csv"])
def test_an_empty_file_is_named(tmp_path, name):
    file = tmp_path / name
    file.write_text("[]" if name.endswith(".json") else "")
    with pytest.raises(ValueError, match=r"empty\.\w+ is empty: it holds no row"):
        import_pairs(file, None, tmp_path / "out")


def test_files_hold_so_many_pairs_and_so_much_text(tmp_path):
    rows = [TRL | {"chosen": str(at)} for at in range(5)]
    imported = run(tmp_path, *rows, rows_per_file=2)
    assert [pq.read_metadata(file).num_rows for file in imported.files] == [2, 2, 1]
    long = [TRL | {"chosen": "x" * 5_000_000, "rejected": str(at)} for at in range(14)]
    imported = run(tmp_path, *long)
    assert [pq.read_metadata(file).num_rows for file in imported.files] == [13, 1]


def test_what_an_earlier_import_left_is_replaced(tmp_path):
    run(tmp_path, *[TRL] * 3, rows_per_file=1)
    (tmp_path / "out" / ".pairs-00009.parquet").write_text("of a killed import")
    imported = run(tmp_path, TRL)
    assert list((tmp_path / "out").iterdir()) == imported.files


def test_progress_is_told(tmp_path):
    told = []
    run(tmp_path, *[TRL] * 3, rows_per_file=2, on_event=lambda event: told.append(event["done"]))
    assert told == [3, 3]


def test_our_own_pairs_stay_as_they_are(tmp_path):
    pair = dict.fromkeys(PAIRS.names) | {
        "pair_id": "a",
        "prompt_id": "b",
        "messages": [{"role": "user", "content": "2+2?"}],
        "chosen_id": "c",
        "rejected_id": "d",
        "chosen": "4",
        "rejected": "5",
        "chosen_token_ids": [1, 2],
        "chosen_score": 2.0,
        "rejected_score": 1.5,
        "margin": 0.5,
        "split": "eval",
        "weight": 0.25,
        "soft_label": 0.75,
        "chosen_p_win": 0.5,
        "rejected_p_win": 0.125,
        "chosen_aspects": [("honest", 4.0), ("short", 1.0)],
        "rejected_aspects": [],
    }
    pq.write_table(pa.Table.from_pylist([pair], schema=PAIRS), tmp_path / "pairs.parquet")
    imported = import_pairs(tmp_path / "pairs.parquet", None, tmp_path / "out")
    assert (imported.format, pairs_of(imported).to_pylist()) == ("prefloop", [pair])


def test_aspects_in_a_jsonl_are_objects(tmp_path):
    row = {"messages": [{"role": "user", "content": "?"}], "chosen": "a", "rejected": "b", "soft_label": 1}
    [pair] = pairs_of(run(tmp_path, row | {"chosen_aspects": {"honest": 4}, "rejected_aspects": {}})).to_pylist()
    assert (pair["chosen_aspects"], pair["rejected_aspects"], pair["soft_label"]) == ([("honest", 4.0)], [], 1.0)


@pytest.mark.parametrize("weight", [0, -1, 1.5, float("nan"), "heavy", [1]])
def test_a_weight_is_above_zero_and_up_to_one(tmp_path, weight):
    row = {"messages": [{"role": "user", "content": "?"}], "chosen": "a", "rejected": "b"}
    with pytest.raises(ValueError, match=r"row 2: weight is .*, not a number above 0 and up to 1, or null for 1"):
        run(tmp_path, row | {"weight": 1}, row | {"weight": weight})


def test_a_split_of_our_own_pairs_is_one_that_there_is(tmp_path):
    row = {"messages": [{"role": "user", "content": "?"}], "chosen": "a", "rejected": "b", "split": "test"}
    with pytest.raises(ValueError, match=r"row 1: split is a text \('test'\), not one of train, eval, vault"):
        run(tmp_path, row)


TEXT = st.none() | st.text(max_size=4)
ROWS = st.lists(st.fixed_dictionaries({"prompt": TEXT, "chosen": TEXT, "rejected": TEXT}), min_size=1, max_size=9)


@settings(max_examples=50)
@given(ROWS, st.integers(1, 4))
def test_every_row_is_a_pair_or_a_drop(tmp_path_factory, rows, rows_per_file):
    imported = run(tmp_path_factory.mktemp("rows"), *rows, file_format="trl", rows_per_file=rows_per_file)
    ids = pairs_of(imported)["pair_id"].to_pylist() + imported.drops["id"].to_pylist()
    assert sorted(ids) == sorted(f"mine:{at}" for at in range(len(rows)))
    assert imported.n_rows == len(rows)


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_is_found_in_a_file_of_it(tmp_path, name):
    pair = dict.fromkeys(PAIRS.names) | {
        "messages": [{"role": "user", "content": "Why?"}],
        "chosen": "A",
        "rejected": "B",
    }
    imported = run(tmp_path, FORMATS[name].write(pair), FORMATS[name].write(pair))
    assert (imported.format, pairs_of(imported)["chosen"].to_pylist()) == (name, ["A", "A"])
