"""What a round and a run come to: figures for people and for `--json`, and what a run's folder keeps of them."""

import json
from dataclasses import asdict
from typing import Any  # JSON values

from flows.build import read_facts
from flows.moves import End
from flows.runs import Run
from flows.store import Store
from flows.tables import write_text

Json = dict[str, Any]


def round_figures(store: Store, result: Json) -> Json:
    """Give the figures of a round's try: the new policy against the last good one on held-out prompts.

    `gold` is the evaluation's judge, `annotator` the judge that labelled the pairs; `win_rate_start` is against the
    run's starting model, `win_rate_old` against the last good policy. `token_entropy` (nats) and `distinct_2` are of
    the new policy's answers; `length_gap` is the mean difference in characters of a chosen and a rejected answer, and
    `length_alpha` the price of a character that pairing took off the scores.
    """
    stages = result["stages"]
    facts, pairing = read_facts(store, stages["evaluation"][-1]), read_facts(store, stages["judging"][-1])
    training = read_facts(store, stages["training"][-1])
    judge, annotator, start = facts["judge"], facts["annotator"], facts["start"]["win_rate"]
    delta, diversity = judge["score_delta"], facts["diversity"]["new"]
    return {
        "round": result["round"],
        "attempt": result["attempt"],
        "gold_before": judge["old_mean"],
        "gold_after": judge["new_mean"],
        "gold_delta_ci95": [delta["low"], delta["high"]],
        "pass_before": judge["pass_old"],
        "pass_after": judge["pass_new"],
        "win_rate_start": start["mean"],
        "win_rate_start_ci95": [start["low"], start["high"]],
        "win_rate_old": judge["win_rate"]["mean"],
        "annotator_before": annotator["old_mean"],
        "annotator_after": annotator["new_mean"],
        "kl": facts["kl"]["per_sequence"] if facts["kl"] else None,
        "mean_tokens": facts["mean_tokens"],
        "token_entropy": diversity["token_entropy"],
        "distinct_2": diversity["distinct_2"],
        "length_gap": pairing.get("length_gap"),
        "length_alpha": pairing["length_alpha"],
        "pairs": training["pairs_trained"],
        "replayed": _replayed(store, stages["filtering"]),
        "decision": facts["decision"]["decision"],
        "seconds": result["seconds"],
    }


def run_summary(store: Store, run: Run, prompts: list[Json], results: list[Json], end: End) -> Json:
    """Sum a run up: every round's figures, the last good policy, why it ended, how much came from the store."""
    rounds = [round_figures(store, result) for result in results]
    outcomes = [*prompts, *all_outcomes(results)]
    return {
        "run": run.name,
        "cycle": run.cycle,
        "rounds": rounds,
        "final": _final(run, rounds, results),
        "stopped": {"rule": end.rule, "reason": end.reason} if end.rule else None,
        "cached_stages": sum(outcome["cached"] for outcome in outcomes),
        "built_stages": sum(not outcome["cached"] for outcome in outcomes),
    }


def _final(run: Run, rounds: list[Json], results: list[Json]) -> Json:
    """Describe the last good policy."""
    passed = [(one, result) for one, result in zip(rounds, results, strict=True) if one["decision"] == "pass"]
    if passed:
        figures, result = passed[-1]
        final = {"round": figures["round"], "attempt": figures["attempt"], "gold": figures["gold_after"]}
        final |= {"pass": figures["pass_after"], "win_rate_start": figures["win_rate_start"]}
        return final | {"policy": result["policy"]}
    final = {"round": 0, "attempt": 0, "gold": rounds[0]["gold_before"], "pass": rounds[0]["pass_before"]}
    return final | {"win_rate_start": 0.5, "policy": asdict(run.start)}


def _replayed(store: Store, outcomes: list[Json]) -> int:
    mixed = [outcome for outcome in outcomes if outcome["stage"] == "replay"]
    return read_facts(store, mixed[0])["replayed"] if mixed else 0


def all_outcomes(results: list[Json]) -> list[Json]:
    """List the datasets of all rounds in the order they were used."""
    return [one for result in results for outcomes in result["stages"].values() for one in outcomes]


def round_folder(result: Json) -> str:
    """Name the folder of a round's try in the run's folder."""
    retry = f"-retry-{result['attempt']}" if result["attempt"] else ""
    return f"round-{result['round']:02d}{retry}"


def keep_round(store: Store, run: str, result: Json) -> None:
    """Write which datasets a round used into the run's folder."""
    folder = store.run_folder(run) / round_folder(result)
    folder.mkdir(exist_ok=True)
    write_text(folder / "round.json", json.dumps(result, indent=1))


def keep_summary(store: Store, summary: Json) -> None:
    """Write the run's summary, which also means that the run has ended."""
    write_text(store.run_folder(summary["run"]) / "summary.json", json.dumps(summary, indent=1))
