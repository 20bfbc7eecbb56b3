"""The values behind a report."""

import json
from dataclasses import replace


def test_json_holds_every_round_with_its_decision_and_figures(run_report):
    report = json.loads(run_report.to_json())
    assert [one["decision"]["decision"] for one in report["rounds"]] == ["pass", "keep"]
    assert report["rounds"][1]["decision"]["goodhart"] is True
    assert report["rounds"][0]["judge"]["win_rate"]["mean"] == run_report.rounds[0].judge.win_rate.mean
    assert report["final"]["round"] == 1


def test_json_writes_a_number_that_is_none_as_null(run_report):
    kl = replace(run_report.rounds[0].kl, k3=float("nan"))
    report = replace(run_report, rounds=[replace(run_report.rounds[0], kl=kl)])
    assert json.loads(report.to_json())["rounds"][0]["kl"]["k3"] is None
