import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filtering.config import FilteringConfig
from filtering.filtering import filter_pairs, filter_parts, split_parts
from filtering.filters.similarity import SimilarityConfig
from filtering.parts import list_parts
from filtering.workers import IN_PROCESS, Processes
from judging.schema import PAIRS

STANDARD = FilteringConfig().chosen()


def some_pairs(n):
    """Pairs some of which each filter of a preset drops."""
    rows = []
    for i in range(n):
        chosen = ["a good answer to question", "the same", "", "another answer, cut"][i % 4]
        prompt = [{"role": "user", "content": f"question {i % 17}"}]
        rows.append(
            {"pair_id": f"id{i}", "prompt_id": f"p{i % 17}", "messages": prompt, "margin": float(i % 5)}
            | {"chosen": f"{chosen} {i % 23}" if chosen else "", "rejected": "the same 1"}
            | {"chosen_finish_reason": "length" if i % 4 == 3 else "stop", "source": ["x", "y", None][i % 3]}
        )
    return pa.Table.from_pylist(rows, schema=PAIRS)


def write(folder, pairs, rows_per_group=50, n_files=2):
    half = -(-pairs.num_rows // n_files)
    paths = [folder / f"pairs-{i}.parquet" for i in range(n_files)]
    for i, path in enumerate(paths):
        pq.write_table(pairs.slice(i * half, half), path, row_group_size=rows_per_group)
    return paths


def split(parts, decision):
    tables = list(split_parts(parts, decision))
    kept = pa.concat_tables([table.kept for table in tables])
    return kept, pa.concat_tables([table.drops for table in tables])


def test_parts_are_row_groups_in_order(tmp_path):
    pairs = some_pairs(230)
    parts = list_parts(write(tmp_path, pairs))
    assert [part.n_rows for part in parts] == [50, 50, 15, 50, 50, 15]
    assert pa.concat_tables([part.read() for part in parts]).equals(pairs)


@pytest.mark.parametrize("mapper", [IN_PROCESS, pytest.param(Processes(2), marks=pytest.mark.slow)])
def test_parts_on_disk_give_what_the_whole_gives_in_memory(tmp_path, mapper):
    pairs = some_pairs(230)
    parts, seen = list_parts(write(tmp_path, pairs)), []
    decision = filter_parts(parts, STANDARD, tmp_path / "facts", mapper, seen.append)
    kept, drops = split(parts, decision)
    whole = filter_pairs(pairs, STANDARD)
    assert kept.equals(whole.kept)
    assert drops.sort_by("id").equals(whole.drops.sort_by("id"))
    assert decision.funnel == whole.funnel
    assert sum(seen) == 230
    assert len({step.step for step in decision.funnel if step.n_dropped}) >= 3


def test_other_thresholds_read_no_texts_again(tmp_path):
    pairs = some_pairs(100)
    parts = list_parts(write(tmp_path, pairs))
    filter_parts(parts, STANDARD, tmp_path / "facts")
    for part in parts:
        part.path.unlink(missing_ok=True)
    change = {"length": {"min_chars": 5}}
    looser = FilteringConfig(change=change).chosen()
    again = filter_parts(parts, looser, tmp_path / "facts")
    assert again.funnel == filter_pairs(pairs, looser).funnel
    assert again.funnel != filter_pairs(pairs, STANDARD).funnel


def test_facts_that_a_killed_run_left_are_not_measured_again(tmp_path):
    parts = list_parts(write(tmp_path, some_pairs(100)))
    filter_parts(parts[:1] + parts[1:], STANDARD, tmp_path / "facts")
    facts = sorted((tmp_path / "facts").rglob("*.parquet"))
    missing = facts[:: len(facts) // 3]
    before = {path: path.stat().st_mtime_ns for path in facts if path not in missing}
    contents = {path: path.read_bytes() for path in missing}
    for path in missing:
        path.unlink()
    filter_parts(parts, STANDARD, tmp_path / "facts")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {path: path.read_bytes() for path in missing} == contents


def test_damaged_facts_are_named(tmp_path):
    parts = list_parts(write(tmp_path, some_pairs(100)))
    filter_parts(parts, STANDARD, tmp_path / "facts")
    broken = next((tmp_path / "facts").glob("length-*/facts-00000.parquet"))
    broken.write_bytes(broken.read_bytes()[:-20])
    with pytest.raises(OSError, match=r"length-.*is damaged.*measured anew"):
        filter_parts(parts, STANDARD, tmp_path / "facts")


def test_pair_id_that_stands_twice_in_two_parts_is_named(tmp_path):
    pairs = pa.concat_tables([some_pairs(60), some_pairs(60).slice(7, 1)])
    with pytest.raises(ValueError, match="pairs 8 and 61 have the same pair_id 'id7'"):
        filter_parts(list_parts(write(tmp_path, pairs)), STANDARD, tmp_path / "facts")


def test_samples_and_near_misses_point_to_their_pairs():
    pairs = some_pairs(200)
    decision = filter_pairs(pairs, [SimilarityConfig(name="similarity", max_similarity=0.9)])
    (step,) = decision.funnel
    assert step.n_dropped == len(decision.drops)
    gone = set(decision.drops["id"].to_pylist())
    assert all(pairs["pair_id"][sighting.row].as_py() in gone for sighting in step.dropped)
    kept = set(decision.kept["pair_id"].to_pylist())
    assert step.near_misses
    assert all(pairs["pair_id"][sighting.row].as_py() in kept for sighting in step.near_misses)
    assert {name: counts[0] for name, counts in step.sources.items()} == {"x": 67, "y": 67, None: 66}


@pytest.mark.slow
def test_killed_in_the_middle_and_run_again_gives_the_same_bytes(tmp_path):
    write(tmp_path, some_pairs(400), rows_per_group=20)
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, os\n"
        "from pathlib import Path\n"
        "from filtering.config import FilteringConfig\n"
        "from filtering.filtering import filter_parts, split_parts\n"
        "from filtering.parts import list_parts\n"
        "import pyarrow.parquet as pq\n"
        "folder, facts, kill_at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])\n"
        "parts, done = list_parts(sorted(folder.glob('pairs-*.parquet'))), []\n"
        "def on_rows(n):\n"
        "    done.append(n)\n"
        "    if len(done) == kill_at:\n"
        "        os.kill(os.getpid(), 9)\n"
        "decision = filter_parts(parts, FilteringConfig().chosen(), facts, on_rows=on_rows)\n"
        "for i, tables in enumerate(split_parts(parts, decision)):\n"
        "    pq.write_table(tables.kept, facts / f'kept-{i}.parquet')\n"
        "    pq.write_table(tables.drops, facts / f'drops-{i}.parquet')\n"
    )

    def run(facts, kill_at):
        command = [sys.executable, script, tmp_path, tmp_path / facts, str(kill_at)]
        return subprocess.run(command, env=os.environ).returncode

    assert run("whole", -1) == 0
    assert run("killed", 7) == -9
    assert run("killed", -1) == 0

    def contents(facts):
        return {path.relative_to(tmp_path / facts): path.read_bytes() for path in (tmp_path / facts).rglob("*.parquet")}

    assert contents("whole") == contents("killed")
