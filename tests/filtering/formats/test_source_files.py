import bz2
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filtering.formats import json_rows
from filtering.formats.row_batch import BrokenRow
from filtering.formats.source_files import SourceFile, list_files

ROW = {"chosen": "Yes", "rejected": "No"}


def read(path):
    return [row for batch in SourceFile(path, path.stem).read() for row in batch.rows]


def mended(path):
    return sum(batch.n_mended for batch in SourceFile(path, path.stem).read())


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"chosen": "Yes", "rejected": "No"}\n\n{"chosen": "Yes", "rejected": "No"}'),
        ("a.json", ' [{"chosen": "Yes", "rejected": "No"} ,\n {"chosen": "Yes", "rejected": "No"}] \n'),
        ("a.json", '\n{"chosen": "Yes", "rejected": "No"}\n{"chosen": "Yes", "rejected": "No"}\n'),
        ("a.jsonl", b'\xef\xbb\xbf{"chosen": "Yes", "rejected": "No"}\r\n{"chosen": "Yes", "rejected": "No"}\r\n'),
        ("a.csv", "chosen,rejected\nYes,No\n\nYes,No\n"),
    ],
)
def test_rows_of_text_files_are_read(tmp_path, name, content):
    assert read(write(tmp_path / name, content)) == [ROW, ROW]


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_text_files_may_be_compressed(tmp_path, suffix, compress):
    file = write(tmp_path / f"a.jsonl{suffix}", compress(json.dumps(ROW).encode()))
    assert read(file) == [ROW]
    assert [one.stem for one in list_files(file)] == ["a"]


def test_zstandard_is_read(tmp_path):
    with pa.output_stream(tmp_path / "a.json.zst", compression="zstd") as file:
        file.write(json.dumps([ROW]).encode())
    assert read(tmp_path / "a.json.zst") == [ROW]


def test_a_file_that_is_not_compressed_as_it_says_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"a\.jsonl\.gz can't be read"):
        read(write(tmp_path / "a.jsonl.gz", "plain"))


def test_parquet_is_read_in_batches_that_its_texts_allow(tmp_path):
    texts = [f"{at}" + "x" * 5_000_000 for at in range(8)]
    pq.write_table(pa.table({"chosen": texts}), tmp_path / "a.parquet", use_dictionary=False)
    sizes = [len(batch.rows) for batch in SourceFile(tmp_path / "a.parquet", "a").read()]
    assert (sum(sizes), max(sizes)) == (8, 3)


def test_long_lines_make_small_batches(tmp_path):
    line = json.dumps({"chosen": "x" * 6_000_000})
    batches = SourceFile(write(tmp_path / "a.jsonl", "\n".join([line] * 5)), "a").read()
    assert [len(batch.rows) for batch in batches] == [2, 2, 1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"chosen": 1}\n{"chosen"', r"a\.jsonl, line 2: .*each line must be one JSON object"),
        ("a.jsonl", '{"chosen": 1}\n[1]', r"a\.jsonl, line 2: a list where one JSON object should be"),
        ("a.json", '[{"chosen": 1}, {"chosen"', r"a\.json, row 2: .*the file is cut or no JSON array"),
        ("a.json", '[{"chosen": 1}', r"a\.json: the file's end after row 1 in place of ','"),
        ("a.json", '[{"chosen": 1}] x', r"a\.json: 'x' after the array's end"),
        ("a.json", "[1]", r"a\.json, row 1: a int where one JSON object should be"),
        ("a.json", '{"data": [\n1]}', r"a\.json, line 1: .*each line must be one JSON object"),
        ("a.json", "[" * 100_000, r"a\.json, row 1: nested too deep"),
        ("a.csv", "chosen,rejected\nYes\n", r"a\.csv, line 2: 1 fields, but the header has 2"),
        ("a.csv", 'chosen,rejected\n"Yes,No\n', r"a\.csv, line 2: unexpected end of data"),
        ("a.csv", "chosen,chosen\nYes,No\n", r"a\.csv, line 1: the header names a column twice"),
        ("a.parquet", "no", r"a\.parquet can't be read as Parquet"),
        ("a.jsonl", '{"chosen": 1}'.encode("utf-16"), r"a\.jsonl is UTF-16: write it as UTF-8"),
        ("a.jsonl", '{"chosen": 1}'.encode("utf-16-le"), r"a\.jsonl is UTF-16: write it as UTF-8"),
        ("a.jsonl", f'{{"a": {"1" * 5000}}}', r"a\.jsonl, line 1: .*4300 digits"),
        ("a.json", f'[{{"a": {"1" * 5000}}}]', r"a\.json, row 1: .*4300 digits"),
    ],
)
def test_a_broken_file_names_the_place(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / name, content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{"chosen": "Yes", "rejected": "No"}\n{"chosen": "caf\xe9"}\n'),
        ("a.json", b'[{"chosen": "Yes", "rejected": "No"}, {"chosen": "caf\xe9"}]'),
        ("a.csv", b"chosen,rejected\nYes,No\ncaf\xe9,x\n"),
    ],
)
def test_a_row_that_is_no_utf8_is_one_broken_row(tmp_path, name, content):
    first, second = read(write(tmp_path / name, content))
    assert first == ROW
    assert isinstance(second, BrokenRow)
    assert "caf\ufffd" in (second.text or "")


def test_a_parquet_row_that_is_no_utf8_is_one_broken_row(tmp_path):
    raw = pa.array([b"fine", b"caf\xe9", b"fine too"], pa.binary())
    text = pa.StringArray.from_buffers(3, *raw.buffers()[1:])
    pq.write_table(pa.table({"chosen": text}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [{"chosen": "fine"}, BrokenRow("caf\ufffd"), {"chosen": "fine too"}]


def test_a_parquet_file_with_a_column_twice_is_refused(tmp_path):
    pq.write_table(pa.table([["a"], ["b"]], names=["chosen", "chosen"]), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet names a column twice: chosen, chosen"):
        read(tmp_path / "a.parquet")


def test_a_date_that_python_has_not_names_the_parquet_file(tmp_path):
    pq.write_table(pa.table({"chosen": ["Yes"], "at": pa.array([2**62], pa.timestamp("us"))}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: .*leave out the column with dates"):
        read(tmp_path / "a.parquet")


def test_half_surrogate_pairs_become_replacement_characters(tmp_path):
    whole, half = r'{"chosen": "\ud83d\ude00"}', r'{"chosen": ["\ud83d x", 1], "\udc00": {"a": null}}'
    for name, content in (("a.jsonl", f"{whole}\n{half}"), ("a.json", f"[{whole}, {half}]")):
        file = write(tmp_path / name, content)
        assert read(file) == [{"chosen": "\U0001f600"}, {"chosen": ["\ufffd x", 1], "\ufffd": {"a": None}}]
        assert mended(file) == 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=3), VALUES, max_size=3), max_size=6),
    st.integers(1, 9),
)
def test_an_array_read_piece_by_piece_is_the_array(tmp_path_factory, rows, piece):
    file = write(tmp_path_factory.mktemp("json") / "a.json", json.dumps(rows, ensure_ascii=False, indent=piece % 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "_PIECE", piece)
        assert read(file) == rows


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    for name in ("b/2.jsonl", "a/1.jsonl", "a/1.jsonl.gz", "notes.csv", ".hidden/0.jsonl", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    files = list_files(tmp_path)
    assert [str(file.path.relative_to(tmp_path)) for file in files] == ["a/1.jsonl", "a/1.jsonl.gz", "b/2.jsonl"]
    assert [file.stem for file in files] == ["a/1.jsonl", "a/1.jsonl.gz", "b/2"]


def test_a_folder_of_ours_is_its_pairs(tmp_path):
    for name in ("part-00001.parquet", "part-00000.parquet", "drops-00000.parquet", "funnel.json"):
        (tmp_path / name).touch()
    assert [file.path.name for file in list_files(tmp_path)] == ["part-00000.parquet", "part-00001.parquet"]


def test_files_of_another_kind_in_a_folder_are_named(tmp_path, caplog):
    for name in ("a.parquet", "b.jsonl", "notes.txt"):
        (tmp_path / name).touch()
    assert [file.path.name for file in list_files(tmp_path)] == ["a.parquet"]
    assert "only its .parquet files are read, not b.jsonl" in caplog.text
    assert "notes.txt" not in caplog.text


def test_a_dataset_of_save_to_disk_is_refused_by_name(tmp_path):
    for name in ("data-00000-of-00001.arrow", "dataset_info.json", "state.json"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="write it with its to_parquet"):
        list_files(tmp_path)


def test_a_source_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pairs\.jsonl does not exist: give a file"):
        list_files(tmp_path / "pairs.jsonl")
    with pytest.raises(ValueError, match=r"holds no file that ends in \.parquet, \.jsonl, \.json, \.csv"):
        list_files(tmp_path)
    with pytest.raises(ValueError, match=r"pairs\.xlsx: files that end in \.parquet"):
        list_files(write(tmp_path / "pairs.xlsx", ""))
