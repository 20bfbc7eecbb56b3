import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filtering.formats.catalogue import FORMATS
from filtering.formats.importing import import_pairs
from filtering.formats.writing import Converted, write_rows
from judging.schema import PAIRS

QUESTION = [{"role": "user", "content": "Why?\u2028\x00 \u00e9"}]
DIALOGUE = [*QUESTION, {"role": "assistant", "content": "So."}, {"role": "user", "content": "Why,\nthen?"}]


def pairs(*prompts):
    rows = [
        dict.fromkeys(PAIRS.names)
        | {"pair_id": f"p{at}", "prompt_id": "q", "messages": messages, "chosen": "A", "rejected": "B"}
        for at, messages in enumerate(prompts)
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS)


def texts(table):
    return table.select(["messages", "chosen", "rejected"]).to_pylist()


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".jsonl"])
@pytest.mark.parametrize("name", list(FORMATS))
def test_a_file_of_each_kind_is_read_as_what_was_written(tmp_path, name, suffix):
    given = pairs(QUESTION, QUESTION)
    converted = Converted(FORMATS[name])
    write_rows(converted.convert([given, given.slice(0, 0), given]), FORMATS[name].schema, tmp_path / f"a{suffix}")
    columns = ["pair_id", "prompt_id"]
    given = pa.concat_tables([given, given])
    if name == "prefloop":  # carries ids, which may stand once
        given = given.set_column(0, "pair_id", pa.array([f"p{at}" for at in range(4)]))
        write_rows([given], PAIRS, tmp_path / f"a{suffix}")
    imported = import_pairs(tmp_path / f"a{suffix}", None, tmp_path / "out")
    found = pq.read_table(imported.files[0])
    assert (imported.format, texts(found)) == (name, texts(given))
    assert found.select(columns).num_rows == 4


def test_a_pair_that_a_format_cannot_carry_stands_in_the_ledger():
    converted = Converted(FORMATS["trl"])
    (table,) = converted.convert([pairs(QUESTION, DIALOGUE)])
    (drop,) = converted.drops_table().to_pylist()
    assert (table.num_rows, converted.n_rows) == (1, 1)
    assert (drop["id"], drop["stage"], drop["step"], drop["reason"], drop["context"]) == (
        "p1",
        "filtering",
        "export",
        "more_than_a_question",
        "Why, then?",
    )


def test_ultrafeedback_carries_scores_and_the_first_question():
    row = pairs(DIALOGUE).to_pylist()[0] | {"chosen_score": 8.0, "rejected_score": 5.0}
    written = FORMATS["ultrafeedback_binarized"].write(row)
    assert (written["prompt"], written["score_chosen"], written["score_rejected"]) == (QUESTION[0]["content"], 8.0, 5.0)
    assert written["messages"] == written["chosen"] == [*DIALOGUE, {"role": "assistant", "content": "A"}]


def test_json_is_one_row_a_line(tmp_path):
    rows = pa.table({"a": ["x\ny", None]})
    for name in ("a.json", "a.jsonl"):
        write_rows([rows], rows.schema, tmp_path / name)
    assert (tmp_path / "a.json").read_text() == '[\n{"a": "x\\ny"},\n{"a": null}\n]\n'
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows.to_pylist()


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    def fail():
        yield pa.table({"a": ["new"]})
        raise ValueError("broken")

    (tmp_path / "a.json").write_text("old")
    with pytest.raises(ValueError, match="broken"):
        write_rows(fail(), pa.schema([("a", pa.string())]), tmp_path / "a.json")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.json", "old")]


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.csv: give a file that ends in \.parquet, \.json, \.jsonl"):
        write_rows([], PAIRS, tmp_path / "a.csv")
