"""What a round comes to: its figures for people and for `--json`, and what a run's folder keeps of it."""

import hashlib
import json
from typing import Any  # JSON values

import yaml

from flows.keys import answer_fields
from flows.recipe import Recipe
from flows.store import Store
from flows.tables import write_text


def run_name(recipe: Recipe) -> str:
    """Name the run's folder: the same recipe and seed go on in the same folder."""
    digest = hashlib.sha256(json.dumps(answer_fields(recipe), sort_keys=True).encode()).hexdigest()[:8]
    return f"{recipe.name}-seed{recipe.seed}-{digest}"


def round_figures(result: dict[str, Any]) -> dict[str, Any]:
    """Give a round's figures: the new policy against the last good one on held-out prompts.

    `gold` is the evaluation's judge, `annotator` the judge that labelled the pairs; `win_rate_start` is against the
    run's starting model, `win_rate_old` against the last good policy.
    """
    facts = result["evaluation"]
    judge, annotator = facts["judge"], facts["annotator"]
    delta = judge["score_delta"]
    return {
        "round": result["round"],
        "gold_before": judge["old_mean"],
        "gold_after": judge["new_mean"],
        "gold_delta_ci95": [delta["low"], delta["high"]],
        "pass_before": judge["pass_old"],
        "pass_after": judge["pass_new"],
        "win_rate_start": facts["start"]["win_rate"]["mean"],
        "win_rate_start_ci95": [facts["start"]["win_rate"]["low"], facts["start"]["win_rate"]["high"]],
        "win_rate_old": judge["win_rate"]["mean"],
        "annotator_before": annotator["old_mean"],
        "annotator_after": annotator["new_mean"],
        "kl": facts["kl"]["per_sequence"] if facts["kl"] else None,
        "mean_tokens": facts["mean_tokens"],
        "decision": facts["decision"]["decision"],
        "seconds": result["seconds"],
    }


def run_summary(recipe: Recipe, prompts: list[dict[str, Any]], results: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum a run up: every round's figures, those of the last good policy, and how much came from the store."""
    rounds = [round_figures(result) for result in results]
    passed = [
        (figures, result) for figures, result in zip(rounds, results, strict=True) if figures["decision"] == "pass"
    ]
    if passed:
        figures, result = passed[-1]
        final = {
            "round": figures["round"],
            "gold": figures["gold_after"],
            "pass": figures["pass_after"],
            "win_rate_start": figures["win_rate_start"],
            "policy": result["policy"],
        }
    else:
        first = rounds[0]
        policy = {"model": recipe.policy.model, "adapter": None}
        final = {
            "round": 0,
            "gold": first["gold_before"],
            "pass": first["pass_before"],
            "win_rate_start": 0.5,
            "policy": policy,
        }
    outcomes = [*prompts, *all_outcomes(results)]
    return {
        "run": run_name(recipe),
        "rounds": rounds,
        "final": final,
        "cached_stages": sum(outcome["cached"] for outcome in outcomes),
        "built_stages": sum(not outcome["cached"] for outcome in outcomes),
    }


def all_outcomes(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """List the datasets of all rounds in the order they were used."""
    return [one for result in results for outcomes in result["stages"].values() for one in outcomes]


def keep_round(store: Store, recipe: Recipe, result: dict[str, Any]) -> None:
    """Write which datasets a round used and what the gate decided into the run's folder."""
    folder = store.run_folder(run_name(recipe)) / f"round-{result['round']:02d}"
    folder.mkdir(exist_ok=True)
    write_text(folder / "round.json", json.dumps(result, indent=1))


def keep_recipe(store: Store, recipe: Recipe) -> None:
    """Write the run's recipe as it was resolved."""
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    write_text(store.run_folder(run_name(recipe)) / "recipe.yaml", text)


def keep_summary(store: Store, recipe: Recipe, summary: dict[str, Any]) -> None:
    """Write the run's summary."""
    write_text(store.run_folder(run_name(recipe)) / "summary.json", json.dumps(summary, indent=1))
