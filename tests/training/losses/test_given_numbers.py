"""The losses against numbers from the papers' own sources, as formulas and through the trainer."""

import json
import sys

import pytest

from benchmarks.loss_trainer import LossTrainer
from benchmarks.losses import compare, find_loss, main, measure, read_case, read_params, remembered
from tests.training.losses.cases import FACTS, moment_of, pairs_of
from training.losses.catalogue import LOSSES

ALL = {name: one for kind in ("losses", "wrong_variants") for name, one in FACTS[kind].items()}


def read(name, strict=True):
    """The hyper-parameters, the cases and the expected numbers of a loss."""
    loss = find_loss(name)
    assert loss is not None
    given = read_params(*loss, ALL[name]["params"], strict)
    expected = ALL[name]["expected"]
    return loss[0], given, [read_case(FACTS["cases"][case], given) for case in expected], list(expected.values())


@pytest.mark.parametrize("name", FACTS["losses"])
def test_formula_and_its_gradient_are_those_of_the_original_sources(name):
    loss, given, cases, expected = read(name)

    for case, wanted in zip(cases, expected, strict=True):
        pairs = pairs_of([case])
        found = LOSSES[loss].formula(
            pairs, given.config, moment_of(loss, given.config, **(remembered(case, given) or {}))
        )
        found.sum().backward()
        assert found.item() == pytest.approx(wanted["loss"], abs=1e-8)
        for side in ("chosen", "rejected"):
            if f"grad_{side}_tok0" in wanted:
                gradient = getattr(pairs, side).tokens.grad
                found_gradient = 0.0 if gradient is None else gradient[0, 1].item()
                assert found_gradient == pytest.approx(wanted[f"grad_{side}_tok0"], abs=1e-6)


@pytest.mark.parametrize("name", FACTS["losses"])
def test_trainer_computes_the_same(name, tmp_path):
    _, given, cases, expected = read(name)

    errors = compare(LossTrainer(given.config, cases, tmp_path), cases, given, expected)

    assert errors.loss < 1e-8
    assert (errors.gradient or 0.0) < 1e-6


@pytest.mark.parametrize("name", FACTS["wrong_variants"])
def test_common_mistakes_give_other_numbers_than_the_trainer(name, tmp_path):
    _, given, cases, expected = read(name, strict=False)

    errors = compare(LossTrainer(given.config, cases, tmp_path), cases, given, expected)

    assert max(errors.loss, errors.gradient or 0.0) > 1e-3


def test_loss_that_no_recipe_reaches_is_reported(tmp_path):
    dpo = FACTS["losses"]["dpo"]

    report = measure({"cases": FACTS["cases"], "losses": {"dpo": dpo, "sdpo_2": dpo}}, tmp_path)

    assert report["missing"] == ["sdpo_2"]
    assert not report["passed"]


def test_wrong_number_in_the_file_fails_the_benchmark(tmp_path, monkeypatch, capsys):
    dpo = FACTS["losses"]["dpo"]
    case = "A_chosen_longer"
    wrong = {"params": dpo["params"], "expected": {case: dpo["expected"][case] | {"loss": 0.6397}}}
    file = tmp_path / "facts.json"
    file.write_text(json.dumps({"cases": FACTS["cases"], "losses": {"dpo": wrong}}))
    monkeypatch.setattr(sys, "argv", ["losses", str(file), "--json"])

    with pytest.raises(SystemExit) as stopped:
        main()

    assert stopped.value.code == 1
    assert json.loads(capsys.readouterr().out)["max_loss_error"] == pytest.approx(0.6397 - 0.63965892, abs=1e-7)


def test_unknown_parameter_is_refused():
    with pytest.raises(ValueError, match=r"loss dpo has no parameter betta; it has name, beta"):
        read_params("dpo", {}, {"betta": 0.1}, strict=True)


@pytest.mark.parametrize(
    ("name", "loss"),
    [("dpo_beta_0.5", "dpo"), ("simpo_v02", "simpo"), ("sppo_hard", "sppo_hard"), ("dpop", "dpop"), ("ipo_sum", "ipo")],
)
def test_name_is_that_of_the_longest_loss_it_begins_with(name, loss):
    found = find_loss(name)

    assert found is not None
    assert found[0] == loss
