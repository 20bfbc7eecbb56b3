import json
from pathlib import Path

import pytest

from flows.history import find_policy_run, find_run, list_runs, newest_run, run_state
from flows.store import Store
from tests.fake_workspace import START, FakeRun, key_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_runs_are_listed_the_newest_first(store: Store):
    FakeRun(store, "demo-seed0-aaaaaaaa", created="2026-01-01T00:00:00+00:00").begin()
    FakeRun(store, "demo-seed0-bbbbbbbb", created="2026-01-02T00:00:00+00:00").begin()
    assert [run.name for run in list_runs(store)] == ["demo-seed0-bbbbbbbb", "demo-seed0-aaaaaaaa"]


def test_no_workspace_is_said_so(tmp_path: Path):
    with pytest.raises(ValueError, match="no workspace here"):
        list_runs(Store(tmp_path / "nothing"))


def test_the_beginning_of_a_name_finds_a_run(store: Store):
    FakeRun(store, "demo-seed0-aaaaaaaa").begin()
    FakeRun(store, "demo-seed1-bbbbbbbb").begin()
    assert find_run(store, "demo-seed1").name == "demo-seed1-bbbbbbbb"


def test_a_whole_name_wins_over_a_longer_one(store: Store):
    FakeRun(store, "demo").begin()
    FakeRun(store, "demo-more").begin()
    assert find_run(store, "demo").name == "demo"


def test_an_ambiguous_beginning_lists_the_runs(store: Store):
    FakeRun(store, "demo-seed0-aaaaaaaa").begin()
    FakeRun(store, "demo-seed0-bbbbbbbb").begin()
    with pytest.raises(ValueError, match=r"2 runs begin so.*\n  demo-seed0-.*\n  demo-seed0-"):
        find_run(store, "demo")


def test_an_unknown_name_lists_the_runs_there_are(store: Store):
    FakeRun(store, "demo-seed0-aaaaaaaa").begin()
    with pytest.raises(ValueError, match=r"other: no such run in .*\n  demo-seed0-aaaaaaaa"):
        find_run(store, "other")


def test_a_run_whose_dataset_is_being_built_is_running(store: Store):
    run = FakeRun(store, "demo").begin()
    run.use("generation", key_of("candidates"))
    with store.dataset("generation", key_of("candidates")).hold():
        standing = run_state(store, find_run(store, "demo"))
    assert (standing.state, standing.detail) == ("running", "generation")
    assert run_state(store, find_run(store, "demo")).state == "unfinished"


def test_a_run_whose_holder_was_killed_is_unfinished(store: Store):
    run = FakeRun(store, "demo").begin()
    run.use("generation", key_of("candidates"))
    lock = store.dataset("generation", key_of("candidates")).lock_path
    lock.parent.mkdir(parents=True)
    lock.write_text('{"holder": {"pid": 1}, "child": null}')
    assert run_state(store, find_run(store, "demo")).state == "unfinished"


def test_a_run_that_ended_early_says_why(store: Store):
    FakeRun(store, "early").begin().end(stopped="the win rate is flat")
    FakeRun(store, "whole").begin().end()
    early = run_state(store, find_run(store, "early"))
    assert (early.state, early.detail) == ("stopped", "the win rate is flat")
    assert run_state(store, find_run(store, "whole")).state == "finished"


def test_gold_is_that_of_the_start_and_of_the_last_good_policy(store: Store):
    run = FakeRun(store, "demo").begin()
    run.end_round(1, 0.5, 0.7)
    run.end_round(2, 0.7, 0.6, decision="keep")
    found = find_run(store, "demo")
    assert found.gold == (0.5, 0.7)
    assert (found.good.round, found.good.policy.key) == (1, key_of("policies demo 1 0"))


def test_a_run_without_a_good_round_has_the_gold_of_its_start(store: Store):
    run = FakeRun(store, "demo").begin()
    run.end_round(1, 0.5, 0.4, decision="keep")
    found = find_run(store, "demo")
    assert found.gold == (0.5, 0.5)
    assert (found.good.round, found.good.policy, found.good.decided) == (0, START, None)


def test_a_retried_round_comes_after_its_first_try_and_counts_once(store: Store):
    run = FakeRun(store, "demo").begin()
    run.end_round(1, 0.5, 0.6, retry=1)
    run.end_round(1, 0.5, 0.4, decision="keep")
    found = find_run(store, "demo")
    assert [one.title for one in found.rounds] == ["1", "1 retry 1"]
    assert found.rounds_done == 1
    assert found.gold == (0.5, 0.6)


def test_a_line_that_a_kill_cut_short_is_passed_over(store: Store):
    run = FakeRun(store, "demo").begin()
    with (run.folder / "keys.jsonl").open("a") as file:
        file.write('{"stage": "gener')
    assert find_run(store, "demo").uses == [("prompts", run.prompts.key)]


def test_a_round_whose_evaluation_is_gone_has_no_figures(store: Store):
    run = FakeRun(store, "demo").begin()
    run.end_round(1, 0.5, 0.7)
    store.dataset("evaluation", key_of("evaluation demo 1 0")).folder.joinpath("manifest.json").unlink()
    found = find_run(store, "demo")
    assert found.rounds[0].figures is None
    assert found.gold is None


def test_a_broken_file_of_a_run_is_named(store: Store):
    run = FakeRun(store, "demo").begin()
    (run.folder / "run.json").write_text('{"run": "demo"')
    with pytest.raises(ValueError, match=r"demo/run\.json: not valid JSON"):
        list_runs(store)
    (run.folder / "run.json").write_text(json.dumps({"run": "demo"}))
    with pytest.raises(ValueError, match="KeyError"):
        list_runs(store)


def test_a_policy_is_asked_for_by_run_by_recipe_or_not_at_all(store: Store, tmp_path: Path):
    FakeRun(store, "demo-seed0-aaaaaaaa", created="2026-01-01T00:00:00+00:00").begin()
    FakeRun(store, "demo-seed1-bbbbbbbb", created="2026-01-02T00:00:00+00:00").begin()
    FakeRun(store, "mine-seed0-cccccccc", recipe="mine", created="2026-01-03T00:00:00+00:00").begin()
    recipe = tmp_path / "somewhere.yaml"
    recipe.write_text("name: demo\n")
    asked = {None: "mine", "demo": "demo-seed1", "demo-seed0": "demo-seed0", str(recipe): "demo-seed1"}
    for name, expected in asked.items():
        assert find_policy_run(store, name).name.startswith(expected)


def test_a_workspace_without_runs_has_no_newest(store: Store):
    (store.root / "runs").mkdir()
    with pytest.raises(ValueError, match="no run yet"):
        newest_run(store)
