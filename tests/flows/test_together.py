"""Several processes on one workspace at once, and some of them killed."""

import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.killing.chains import Undisturbed, run_chain
from benchmarks.killing.moments import Profile, read_parts
from benchmarks.killing.victims import Moment
from flows.plan import Step

SMALL = [
    "demo", "--set=rounds=1", "--set=prompts.per_round=16", "--set=evaluation.max_prompts=4", "--set=evaluation.k=2",
    "--set=training.batch_size=8", "--set=generation.prompts_per_shard=2",
    "--set=generation.engine={name: transformers, dtype: float32, max_model_len: 192, batch_size: 4}",
    "--set=judging.annotator={kind: verifier, function: 'recipes.film_reviews.gold:score_reviews'}",
]  # fmt: skip
WORKERS = 4
WORKER = """
import json, os, sys
from pathlib import Path
import pyarrow as pa
from flows.build import Workbench, build
from flows.plan import Step
from flows.recipe import load_recipe
from flows.store import Store
from flows.tables import file_checksum

store, journal, n_keys = Store(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
bench = Workbench(store, load_recipe(Path("demo"), []), Step("prompts", 1, {}), "run")

def note(what, number, **more):
    line = json.dumps({"what": what, "key": number, "pid": os.getpid()} | more) + "\\n"
    file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())  # one call: lines of several processes don't mix
    os.close(file)

def values(number, shard):
    return [1000 * number + 100 * shard + row for row in range(100)]

def check(dataset, number):
    manifest = dataset.manifest()
    assert dataset.read()["value"].to_pylist() == values(number, 0) + values(number, 1)
    for name, checksum in manifest.checksums.items():
        assert file_checksum(dataset.folder / name) == checksum, name

for number in range(n_keys):
    step = Step("pairing", 1, {"number": number})
    dataset = store.dataset(step.stage, step.key)

    def work(dataset, _):
        note("began", number)
        for shard in (0, 1):
            dataset.write_shard(shard, {"part": pa.table({"value": values(number, shard)})})
        return {"rows_in": 200}

    if dataset.manifest() is not None:
        check(dataset, number)
    outcome = build(bench, step, work)
    check(dataset, number)
    note("read", number, built=not outcome.cached, manifest=(dataset.folder / "manifest.json").stat().st_ino)
"""


@pytest.mark.parametrize(("n_keys", "n_kills"), [(50, 5), pytest.param(200, 10, marks=pytest.mark.slow)])
def test_each_key_is_computed_once_by_processes_that_are_killed_and_read_whole_by_all(tmp_path, n_keys, n_kills):
    chance, journal = random.Random(n_keys), tmp_path / "journal.jsonl"
    command = [sys.executable, "-c", WORKER, str(tmp_path / "workspace"), str(journal), str(n_keys)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(WORKERS)]
    killed = set()
    for number in range(n_kills):
        _wait_for_key(journal, (number + 1) * n_keys // (n_kills + 2))
        time.sleep(chance.uniform(0, 0.02))
        builder = _notes(journal, "began")[-1]["pid"]
        victim = next((one for one in workers if one.pid == builder and chance.random() < 0.8), chance.choice(workers))
        if victim.poll() is None:
            victim.kill()
            killed.add(victim.pid)
            workers.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == (-9 if worker.pid in killed else 0), errors
    assert len(killed) >= n_kills // 2
    began, read = _notes(journal, "began"), _notes(journal, "read")
    used = [json.loads(line)["key"] for line in (tmp_path / "workspace/runs/run/keys.jsonl").read_text().splitlines()]
    assert set(used) == {Step("pairing", 1, {"number": key}).key for key in range(n_keys)}
    for key in range(n_keys):
        builders = [note["pid"] for note in began if note["key"] == key]
        assert set(builders[:-1]) <= killed  # another one computes it only where the one before died
        assert len({note["manifest"] for note in read if note["key"] == key}) == 1
        assert sum(note["built"] for note in read if note["key"] == key) <= 1


def _notes(journal: Path, what: str) -> list[dict]:
    notes = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    return [note for note in notes if note["what"] == what]


def _wait_for_key(journal: Path, key: int) -> None:
    deadline = time.monotonic() + 60
    while not any(note["key"] >= key for note in _notes(journal, "began")):
        assert time.monotonic() < deadline, "the workers stand still"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def together(served_prefloop, tmp_path_factory):
    """Two runs of one recipe, started at once on one workspace: the workspace and what both printed."""
    workspace = tmp_path_factory.mktemp("together")
    command = ["run", *SMALL, "--workspace", workspace, "--json"]
    with ThreadPoolExecutor(2) as both:
        return workspace, [one.json for one in both.map(lambda _: served_prefloop(*command), range(2))]


@pytest.mark.slow
def test_two_runs_at_once_share_the_work_and_agree(together):
    workspace, summaries = together
    assert sum(one["built_stages"] for one in summaries) == len(list(workspace.rglob("manifest.json")))
    one, other = [[figures | {"seconds": 0} for figures in summary["rounds"]] for summary in summaries]
    assert one == other
    assert summaries[0]["final"] == summaries[1]["final"]


@pytest.mark.slow
def test_a_run_killed_in_generation_and_training_ends_like_one_left_alone(together, prefect_environment, tmp_path):
    left_alone, _ = together
    parts = read_parts(left_alone)
    model = Undisturbed(SMALL, left_alone, prefect_environment, Profile(parts, 0.0, 0.0, 0.0))
    folders = {part.stage: tmp_path / "killed" / part.folder for part in parts}
    moments = [
        Moment("generation", folders["generation"], "child", "shards", 0.0, 2),
        Moment("generation", folders["generation"], "parent", "shards", 0.0, 4),
        Moment("training", folders["training"], "both", "lock", 1.0),
    ]
    ended = run_chain(model, tmp_path / "killed", moments)
    assert [one.kind for one in ended.kills] == ["child", "parent", "both"]
    assert [one.shards_kept >= 2 * n for n, one in enumerate(ended.kills[:2], 1)] == [True, True]
    assert sum(one.shards_repeated for one in ended.kills) == 0
    assert ended.sameness.differences + ended.problems == []
