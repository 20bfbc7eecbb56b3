import errno
from pathlib import Path

import pytest

from flows.fields import FieldError
from flows.replacing import check_output, replaced

OURS = ("part-*.parquet", "funnel.json")


@pytest.fixture
def output(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "funnel.json").write_text("earlier")
    return tmp_path / "out"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def _fill_the_disk(path):
    path.touch()
    raise OSError(errno.ENOSPC, "full")


def test_a_mounted_disk_is_refused(tmp_path):
    with pytest.raises(FieldError, match="where a disk is mounted"):
        check_output(Path("/proc"), tmp_path, OURS)


def test_a_result_takes_the_place_of_an_earlier_one(output):
    with replaced(output) as made:
        (made / "part-00000.parquet").touch()
        assert names(output) == ["funnel.json"]
    assert names(output) == ["part-00000.parquet"]
    assert names(output.parent) == ["out"]


def test_a_block_that_fails_leaves_the_earlier_result_and_nothing_of_its_own(output):
    with pytest.raises(OSError, match="there is no room to write"), replaced(output) as made:
        _fill_the_disk(made / "part-00000.parquet")
    assert names(output) == ["funnel.json"]
    assert names(output.parent) == ["out"]


def test_the_earlier_result_outlives_a_kill_between_the_renames_and_a_failure_after_it(output):
    output.rename(output.with_name(".out.old"))
    output.with_name(".out.new").mkdir()
    with pytest.raises(ValueError, match="bad"), replaced(output):
        raise ValueError("bad")
    assert names(output) == ["funnel.json"]


@pytest.mark.parametrize(
    ("written", "read", "message"),
    [
        ("out", "in", None),
        ("new", "in", None),
        ("in/pairs.jsonl", "in/pairs.jsonl", "is a file"),
        ("mixed", "in", r"holds something that is no result of this command \(mine.txt\)"),
        ("in/new", "in", "lie one in the other"),
        ("out", "out", "lie one in the other"),
        ("out", "out/part-00000.parquet", "lie one in the other"),
    ],
)
def test_an_output_that_would_lose_something_is_refused(output, written, read, message):
    folder = output.parent
    for name in ("in/pairs.jsonl", "mixed/mine.txt", "mixed/funnel.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    if message is None:
        check_output(folder / written, folder / read, OURS)
    else:
        with pytest.raises(FieldError, match=message):
            check_output(folder / written, folder / read, OURS)
