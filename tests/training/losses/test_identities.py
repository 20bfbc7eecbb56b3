"""What must hold between the losses, and at policy = reference."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.loss_trainer import Case
from tests.training.losses.cases import config_of, losses_of, pairs_of, random_cases
from training.losses.catalogue import LOSSES

CASES = random_cases(4, seed=5)
EVEN = [Case([-0.3, -1.2], [-0.8, -0.1], [-0.5, -0.9], [-0.4, -0.6], case.columns, sum_sq=[-0.5] * 4) for case in CASES]
AT_REFERENCE = {
    "dpo": math.log(2), "ld_dpo": math.log(2), "cdpo": math.log(2), "robust": math.log(2), "soft_dpo": math.log(2),
    "dpop": math.log(2), "ln_dpo": math.log(2), "aot": math.log(2), "aot_unpaired": math.log(2), "hinge": 1.0,
    "apo_zero": 1.0, "apo_down": 1.0, "ipo": 25.0, "kto": 0.5, "bco": 2 * math.log(2), "nca": 2 * math.log(2),
    "sppo_hard": 5e5, "discopop": (1 + math.log(2)) / 2,
    "exo": 0.5 * math.log(0.5 / 0.999) + 0.5 * math.log(0.5 / 0.001),
}  # fmt: skip


def assert_same_losses(name, other, cases=CASES, fields=None, other_fields=None):
    left, right = (losses_of(n, pairs_of(cases), **(f or {})) for n, f in ((name, fields), (other, other_fields)))
    torch.testing.assert_close(left, right)


@pytest.mark.parametrize("name", AT_REFERENCE)
def test_loss_at_the_reference_is_the_one_it_says(name):
    cases = [
        Case(c.policy_chosen, c.policy_rejected, c.policy_chosen, c.policy_rejected, c.columns) for c in random_cases(5)
    ]

    losses = losses_of(name, pairs_of(cases))

    says = LOSSES[name].at_reference
    assert says is not None
    assert says(config_of(name)) == pytest.approx(AT_REFERENCE[name])
    np.testing.assert_allclose(losses.detach().numpy(), AT_REFERENCE[name])


def test_losses_that_depend_on_the_pairs_say_nothing_of_the_reference():
    assert {name for name, loss in LOSSES.items() if loss.at_reference} == set(AT_REFERENCE)


def test_dpo_starts_with_a_gradient_of_half_beta():
    pairs = pairs_of([Case([-0.3], [-0.8, -1.0], [-0.3], [-0.8, -1.0])])

    losses_of("dpo", pairs, beta=0.3).sum().backward()

    assert pairs.chosen.tokens.grad[0, 1].item() == pytest.approx(-0.15)
    assert pairs.rejected.tokens.grad[0, 1:3].tolist() == pytest.approx([0.15, 0.15])


def test_losses_become_dpo_where_their_term_is_off():
    for name, fields in {
        "cdpo": {"epsilon": 0.0}, "robust": {"epsilon": 0.0}, "ld_dpo": {"alpha": 1.0}, "r_dpo": {"alpha": 0.0},
        "dpop": {"penalty": 0.0}, "odpo": {"alpha": 0.0}, "margin_dpo": {"scale": 0.0},
    }.items():  # fmt: skip
        assert_same_losses(name, "dpo", fields=fields)


def test_cdpo_is_soft_labels_of_one_minus_epsilon():
    sure = [Case(c.policy_chosen, c.policy_rejected, c.ref_chosen, c.ref_rejected, {"soft_label": 0.8}) for c in CASES]
    assert_same_losses("cdpo", "soft_dpo", sure, {"epsilon": 0.2})


def test_answers_of_equal_length_make_length_no_matter():
    assert_same_losses("ln_dpo", "dpo", EVEN, {"beta": 5.0}, {"beta": 2.5})
    assert_same_losses("ld_dpo", "dpo", EVEN)
    assert_same_losses("r_dpo", "dpo", EVEN)


def test_simpo_on_one_token_without_margin_is_cpo_without_likelihood():
    short = [Case([-0.3], [-0.8], [0.0], [0.0]), Case([-1.3], [-0.2], [0.0], [0.0])]
    assert_same_losses("simpo", "cpo", short, {"beta": 2.0, "gamma_beta_ratio": 0.0}, {"beta": 2.0, "alpha": 0.0})


def test_likelihood_terms_add_up():
    plain, mean = losses_of("dpo", pairs_of(CASES)), pairs_of(CASES).chosen.mean
    torch.testing.assert_close(losses_of("rpo", pairs_of(CASES), alpha=0.2), plain - 0.2 * mean)
    simpo = losses_of("simpo", pairs_of(CASES), beta=10.0, gamma_beta_ratio=0.54)
    torch.testing.assert_close(losses_of("cpo_simpo", pairs_of(CASES)), simpo - 0.05 * mean)


def test_hard_sppo_is_twice_the_mean_where_the_chosen_always_wins():
    columns = {"chosen_p_win": 1.0, "rejected_p_win": 0.0}
    cases = [Case(c.policy_chosen, c.policy_rejected, c.ref_chosen, c.ref_rejected, columns) for c in CASES]
    hard = losses_of("sppo_hard", pairs_of(cases), beta=0.5)

    torch.testing.assert_close(hard, 2 * losses_of("sppo", pairs_of(cases), beta=0.5))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-30, -0.01), min_size=4, max_size=4), st.floats(0.01, 1))
def test_swapped_dpo_differs_by_beta_h(values, beta):
    one = pairs_of([Case(*([value] for value in values))])
    other = pairs_of([Case(*([values[i]] for i in (1, 0, 3, 2)))])

    difference = losses_of("dpo", one, beta=beta) - losses_of("dpo", other, beta=beta)

    torch.testing.assert_close(difference, -beta * one.difference)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hopeless_and_certain_pairs_overflow_nothing(name, dtype):
    extremes = [-1e5, -1e-9, 0.0, -50.0]
    columns = random_cases(1)[0].columns
    cases = [
        Case([w], [r, r], [ref], [-1.0, -1.0], columns, 3.0, [-0.5] * 3)
        for w in extremes for r in extremes for ref in (-1.0, -1e5)
    ]  # fmt: skip
    pairs = pairs_of(cases, dtype)

    losses = losses_of(name, pairs)
    losses.sum().backward()

    assert losses.isfinite().all()
    for side in (pairs.chosen, pairs.rejected):
        assert side.tokens.grad is None or side.tokens.grad.isfinite().all()


def test_orpo_tells_near_certain_answers_apart():
    pairs = pairs_of([Case([-1e-5], [-1e-4], [0.0], [0.0])])

    losses_of("orpo", pairs, alpha=1.0).sum().backward()

    odds = [math.exp(p) / -math.expm1(p) for p in (-1e-5, -1e-4)]
    assert pairs.rejected.tokens.grad[0, 1].item() == pytest.approx(
        odds[1] / (odds[0] + odds[1]) / -math.expm1(-1e-4), rel=1e-6
    )
