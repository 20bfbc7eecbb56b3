"""What `prefloop runs`, `policy` and `gc` print; in this process, since each start of Python takes half a second."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.history import find_run
from flows.run_views import contrast
from flows.store import Store
from generation.engine import PolicyFiles
from tests.fake_workspace import FakeRun, key_of, lay_dataset

DEMO, OTHER = "demo-seed0-aaaaaaaa", "over-optimise-seed0-bbbbbbbb"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    """Call `prefloop` with some arguments; gives what it printed."""

    def run(*arguments: object, code: int = 0, columns: int = 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == code, done.output
        return done

    return run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A workspace with a run that stopped, an unfinished one and a dataset of nobody."""
    store = Store(tmp_path)
    first = FakeRun(store, DEMO).begin(judging={"annotator": {"base_url": "http://me:password@host/v1"}})
    first.end_round(1, 0.5, 0.7)
    first.end_round(2, 0.7, 0.6, decision="keep")
    first.end(stopped="no win [over] the start in 2 rounds")
    second = FakeRun(store, OTHER, recipe="over-optimise", created="2026-02-02T00:00:00+00:00").begin(rounds=3)
    second.end_round(1, 0.4, 0.45)
    second.use("generation", key_of(f"generation {DEMO} 1 0"))
    second.use("generation", key_of("under way"))
    lay_dataset(store, "generation", "under way", complete=False)
    lay_dataset(store, "judging", "orphan")
    return store


def test_runs_lists_every_run_in_eighty_columns(prefloop, store: Store):
    done = prefloop("runs", "--workspace", store.root, COLUMNS="80")
    assert max(map(len, done.stdout.splitlines())) <= 80
    text = " ".join(done.stdout.split())
    assert f"{OTHER} unfinished 1 of 3 1 0.400 > 0.450 2026-02-02" in text
    assert f"{DEMO} stopped 2 of 2 1 0.500 > 0.700 2026-01-02" in text
    assert "no win [over] the start" in text


def test_runs_as_json_names_states_and_gold(call, store: Store):
    rows = json.loads(call("runs", "--json", "--workspace", store.root).stdout)
    assert [(row["run"], row["state"], row["detail"]) for row in rows] == [
        (OTHER, "unfinished", None),
        (DEMO, "stopped", "no win [over] the start in 2 rounds"),
    ]
    assert (rows[1]["last_good_round"], rows[1]["gold_before"], rows[1]["gold_after"]) == (1, 0.5, 0.7)


def test_options_before_the_subcommand_count(call, store: Store):
    assert json.loads(call("runs", "--workspace", store.root, "--json", "show", DEMO).stdout)["run"] == DEMO


def test_show_names_rounds_datasets_and_what_is_under_way(call, store: Store):
    view = json.loads(call("runs", "show", "over", "--workspace", store.root, "--json").stdout)
    (first,) = view["rounds_detail"]
    assert first["figures"]["gold_after"] == 0.45
    assert first["datasets"][0] == {
        "stage": "generation", "key": key_of(f"generation {OTHER} 1 0"), "cached": False,
        "rows_in": 3, "rows_out": 2, "drops": {"tied": 1}, "seconds": 1.5,
    }  # fmt: skip
    states = {one["key"]: one["state"] for one in view["underway"]}
    assert states[key_of("under way")] == "partial"
    text = call("runs", "show", "demo", "--workspace", store.root, columns=80).stdout
    assert "2 of 2 rounds done, stopped: no win [over] the start" in text
    assert str(store.root / "runs" / DEMO / "report.html") in text


def test_compare_shows_fields_that_differ_but_no_secret(call, store: Store):
    done = call("runs", "compare", "demo", "over", "--workspace", store.root)
    assert "password" not in done.stdout
    view = contrast(store, find_run(store, DEMO), find_run(store, OTHER))
    assert view["fields"] == {
        "judging.annotator.base_url": ["(hidden)", None],
        "name": ['"demo"', '"over-optimise"'],
        "rounds": ["2", "3"],
    }
    assert [[one["decision"] if one else None for one in row["figures"]] for row in view["rounds"]] == [
        ["pass", "pass"],
        ["keep", None],
    ]
    assert view["shared"] == [{"stage": "generation", "key": key_of(f"generation {DEMO} 1 0")}]


def test_a_run_that_is_not_there_is_answered_with_those_that_are(call, store: Store):
    done = call("runs", "show", "nothing", "--workspace", store.root, code=1)
    assert f"nothing: no such run in {store.root}; there are:\n  {OTHER}\n  {DEMO}" in done.stderr
    assert "no workspace here" in call("runs", "--workspace", store.root / "none", code=1).stderr


def test_policy_prints_the_folder_for_scripts(call, store: Store):
    folder = store.root / "policies" / key_of(f"policies {DEMO} 1 0")
    assert call("policy", "demo", "--path", "--workspace", store.root).stdout == f"{folder}\n"
    newest = json.loads(call("policy", "--json", "--workspace", store.root).stdout)
    assert (newest["run"], newest["round"], newest["base"]) == (OTHER, 1, None)


def test_policy_names_the_base_of_an_adapter(call, store: Store):
    run = FakeRun(store, "lora", recipe="lora").begin()
    adapter = lay_dataset(store, "policies", "adapter")
    run.decide(2, PolicyFiles("/models/base", adapter.key, str(adapter.folder)))
    text = call("policy", "lora", "--workspace", store.root).stdout
    assert "Last good policy of lora: round 2, decided 2026-01-02 04:05 UTC" in text
    assert f"  {adapter.folder}\n  an adapter on /models/base" in text


def test_policy_of_a_run_without_a_good_round_is_its_start(call, store: Store):
    FakeRun(store, "fresh", recipe="fresh", start=PolicyFiles("org/model", "c" * 40)).begin()
    text = call("policy", "fresh", "--workspace", store.root).stdout
    assert "round 0, none of its own yet; it started from\n  org/model" in text


def test_a_policy_that_was_removed_by_hand_is_not_named(call, store: Store):
    run = FakeRun(store, "gone", recipe="gone").begin()
    run.decide(1, PolicyFiles(str(store.root / "policies" / "d"), "d"))
    assert "is no longer there" in call("policy", "gone", "--path", "--workspace", store.root, code=1).stderr


def test_gc_changes_nothing_until_it_is_told_to(call, store: Store):
    orphan = store.dataset("judging", key_of("orphan"))
    young = json.loads(call("gc", "--workspace", store.root, "--json").stdout)
    assert (young["unused"], young["young"]) == ({}, 1)
    found = json.loads(call("gc", "--min-age", "0", "--workspace", store.root, "--json").stdout)
    assert (found["deleted"], found["unused"]["judging"]["count"]) == (False, 1)
    assert orphan.manifest() is not None
    text = call("gc", "--min-age", "0", "--delete", "--workspace", store.root).stdout
    assert "judging" in text
    assert not orphan.folder.exists()
    assert "Nothing to remove" in call("gc", "--min-age", "0", "--workspace", store.root).stdout


def test_gc_lets_go_of_a_run_and_says_which_policy_that_was(call, store: Store):
    policy = store.dataset("policies", key_of(f"policies {DEMO} 1 0")).folder
    options = ("gc", "--run", DEMO, "--min-age", "0", "--workspace", store.root)
    text = call(*options).stdout
    assert f"Let go: Last good policy of {DEMO}: round 1" in text
    assert str(policy) in text
    assert policy.exists()
    call(*options, "--delete")
    assert not policy.exists()
    assert [row["run"] for row in json.loads(call("runs", "--json", "--workspace", store.root).stdout)] == [OTHER]
    assert store.dataset("generation", key_of(f"generation {DEMO} 1 0")).manifest() is not None  # the other run's too


def test_gc_lets_go_of_a_run_but_not_of_the_policy_that_another_started_from(call, store: Store):
    key = key_of(f"policies {DEMO} 1 0")
    FakeRun(store, "demo-later", cycle=2, start=PolicyFiles(str(store.dataset("policies", key).folder), key)).begin()
    call("gc", "--run", DEMO, "--delete", "--min-age", "0", "--workspace", store.root)
    assert not (store.root / "runs" / DEMO).exists()
    assert store.dataset("policies", key).manifest() is not None
