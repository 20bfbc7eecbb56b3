"""Every preference loss and its gradient against a file of given numbers, through the code that training uses.

    python benchmarks/losses.py FILE --json

FILE is JSON: `cases` (token log-probs of a pair under policy and reference), `losses` (hyper-parameters and, for each
case, the expected loss and its derivative by the log-prob of the first token of either answer) and `wrong_variants`
(numbers that a common mistake gives, and that our loss must not give). The numbers are put in place of the model's in a
real trainer, one pair a batch, in float64. Exit code 1 where anything is off.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any  # Any: JSON values

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, this folder would stand there

from pydantic import TypeAdapter, ValidationError

from training.losses.catalogue import LOSSES, LossConfig
from training.losses.loss import LossFields, State

if TYPE_CHECKING:
    from benchmarks.loss_trainer import Case, LossTrainer

LOSS_TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 1e-5  # theirs are central differences
LEAST_DIFFERENCE = 1e-3  # of a wrong variant, in its loss or its gradient

# Other names of our losses, with what else they say.
_ALIASES: dict[str, tuple[str, dict[str, Any]]] = {
    "robust_dpo": ("robust", {}),
    "ipo_sum": ("ipo", {"per_token": False}),
    "ipo_avg": ("ipo", {"per_token": True}),
    "rpo_iterative": ("rpo", {}),
    "soft_label_dpo": ("soft_dpo", {}),
    "bco_pair_no_delta": ("bco", {"shift": False}),
    "kto_reference_free": ("kto", {}),
}
# Hyper-parameters that are called otherwise there: by loss, or for all.
_FIELDS = {
    ("dpop", "lam"): "penalty",
    ("beta_dpo", "a"): "alpha",
    "lam": "alpha",
    "eps": "epsilon",
    "lambda_D": "desirable_weight",
    "lambda_U": "undesirable_weight",
}
# Numbers of the pair or of the moment, not of the loss.
_COLUMNS = {
    ("odpo", "score_gap"): "margin",
    ("margin_dpo", "m"): "margin",
    ("soft_dpo", "p"): "soft_label",
    ("sppo", "pw"): "chosen_p_win",
    ("sppo", "pl"): "rejected_p_win",
}
_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


@dataclass(frozen=True)
class Given:
    """What a name and parameters of the file come to in ours."""

    config: LossFields
    columns: dict[str, float] = field(default_factory=dict)
    mismatched: float = 0.0
    gap_mean: float | None = None


def find_loss(name: str) -> tuple[str, dict[str, Any]] | None:
    """Give the recipe's name of a loss of the file, and what its name says; the longest one that it begins with."""
    known = _ALIASES | {own: (own, {}) for own in LOSSES}
    fitting = [own for own in known if name == own or name.startswith(f"{own}_")]
    return known[max(fitting, key=len)] if fitting else None


def read_params(name: str, said: dict[str, Any], params: Mapping[str, float], strict: bool) -> Given:
    """Sort the parameters of the file into hyper-parameters, columns and the rest.

    Raises:
        ValueError: A parameter is unknown, and `strict`.
    """
    fields, columns, rest = dict(said), {}, {}
    known = type(_config(name, {})).model_fields
    for key, value in params.items():
        own = _FIELDS.get((name, key)) or (key if key in known else _FIELDS.get(key))
        if (name, key) in _COLUMNS:
            columns[_COLUMNS[name, key]] = value
        elif own in known:
            fields[own] = value
        elif key == "gamma" and "gamma_beta_ratio" in known:
            fields["gamma_beta_ratio"] = value / params["beta"]
        elif key in ("z0", "M0"):
            rest[key] = value
        elif strict:
            raise ValueError(f"loss {name} has no parameter {key}; it has {', '.join(known)}")
    return Given(_config(name, fields), columns, rest.get("z0", 0.0), rest.get("M0"))


def _config(name: str, fields: dict[str, Any]) -> LossFields:
    """Build a loss's hyper-parameters; those beyond our bounds, which are for people, are computed all the same."""
    values = ({"aspects": {"other": 0.5}} if name == "modpo" else {}) | fields | {"name": name}
    adapter: TypeAdapter[Any] = TypeAdapter(LossConfig)
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        if any(problem["type"] not in _BOUNDS for problem in error.errors()):
            raise
        return type(adapter.validate_python({"name": name})).model_construct(**values)


def read_case(case: Mapping[str, Any], given: Given) -> "Case":
    """Take the numbers of a case."""
    from benchmarks.loss_trainer import Case

    sides = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")
    return Case(**{side: case[side] for side in sides}, columns=given.columns, mismatched=given.mismatched)


def remembered(case: "Case", given: Given) -> State | None:
    """Give the running mean that becomes beta-DPO's M0 when this pair is taken into it."""
    if given.gap_mean is None:
        return None
    momentum = given.config.model_dump()["momentum"]
    gap = sum(case.policy_chosen) - sum(case.ref_chosen) - sum(case.policy_rejected) + sum(case.ref_rejected)
    return {"gap_mean": (given.gap_mean - (1 - momentum) * gap) / momentum, "gap_std": 0.0}


@dataclass(frozen=True)
class Errors:
    """Largest distance from the expected numbers over all cases; of gradients None where the file has none."""

    loss: float
    gradient: float | None


def compare(
    trainer: "LossTrainer", cases: "Sequence[Case]", given: Given, expected: Sequence[Mapping[str, float]]
) -> Errors:
    """Compute each case as a batch of one pair, and compare."""
    loss_errors: list[float] = []
    gradient_errors: list[float] = []
    for row, (case, wanted) in enumerate(zip(cases, expected, strict=True)):
        found = trainer.compute([row], remembered(case, given))
        loss_errors.append(abs(found.loss - wanted["loss"]))
        first = {"grad_chosen_tok0": found.grad_chosen[0][0], "grad_rejected_tok0": found.grad_rejected[0][0]}
        gradient_errors += [abs(value - wanted[name]) for name, value in first.items() if name in wanted]
    return Errors(max(loss_errors), float(max(gradient_errors)) if gradient_errors else None)


def measure(facts: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Compare every loss of the file, and every wrong variant."""
    missing = [name for name in facts["losses"] if find_loss(name) is None]
    right = {name: _errors(facts, name, one, folder) for name, one in facts["losses"].items() if name not in missing}
    wrong = {
        name: _errors(facts, name, one, folder, strict=False) for name, one in facts.get("wrong_variants", {}).items()
    }
    distances = {name: max(one.loss, one.gradient or 0.0) for name, one in wrong.items()}
    report = {
        "losses": len(facts["losses"]),
        "cases": len(facts["cases"]),
        "max_loss_error": max(one.loss for one in right.values()),
        "max_gradient_error": max(one.gradient or 0.0 for one in right.values()),
        "missing": missing,
        "without_gradient": [name for name, one in right.items() if one.gradient is None],
        "wrong_variants": distances,
    }
    passed = (
        report["max_loss_error"] <= LOSS_TOLERANCE
        and report["max_gradient_error"] <= GRADIENT_TOLERANCE
        and not missing
        and all(distance >= LEAST_DIFFERENCE for distance in distances.values())
    )
    return report | {"passed": passed}


def _errors(
    facts: Mapping[str, Any], name: str, one: Mapping[str, Any], folder: Path, *, strict: bool = True
) -> Errors:
    from benchmarks.loss_trainer import LossTrainer

    found = find_loss(name)
    if found is None:
        raise ValueError(f"no loss is called {name}; expected one of {', '.join(LOSSES)}, or a name that begins so")
    given = read_params(*found, one["params"], strict)
    names = list(one["expected"])
    cases = [read_case(facts["cases"][case], given) for case in names]
    trainer = LossTrainer(given.config, cases, folder)
    return compare(trainer, cases, given, [one["expected"][case] for case in names])


def main() -> None:
    """Read the options, compare, print; exit code 1 where anything is off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(json.loads(options.file.read_text(encoding="utf-8")), Path(folder))
    if options.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name}: {value}")
    sys.exit(0 if report["passed"] else 1)


if __name__ == "__main__":
    main()
