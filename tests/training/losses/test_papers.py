"""Losses without published numbers against their papers' formulas, written here in NumPy."""

import numpy as np
import pytest
import torch

from tests.training.losses.cases import config_of, losses_of, moment_of, pairs_of, random_cases
from training.losses.catalogue import LOSSES
from training.losses.loss import Moment

CASES = random_cases(6, seed=11)
PI_W, PI_L, REF_W, REF_L = (
    np.array([sum(getattr(case, name)) for case in CASES])
    for name in ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")
)
H = PI_W - REF_W - PI_L + REF_L


def log_sigmoid(x):
    return -np.logaddexp(0, -x)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def check(name, wanted, **fields):
    np.testing.assert_allclose(losses_of(name, pairs_of(CASES), **fields).detach().numpy(), wanted, rtol=1e-10)


def alignments():
    """Length-normalised weights of both answers (arXiv 2406.11827)."""
    for case in CASES:
        n = len(case.policy_chosen)
        sides = ((case.policy_chosen, case.sum_sq[:n]), (case.policy_rejected, case.sum_sq[n:]))
        yield np.prod([np.prod(np.exp(np.array(p) - np.array(s))) ** (1 / len(p)) for p, s in sides])


def test_wpo_weighs_dpo_by_the_geometric_means_of_relative_probabilities():
    weights = np.array(list(alignments()))
    assert (weights > 1).any()

    check("wpo", np.minimum(weights, 1) * -log_sigmoid(0.2 * H), beta=0.2)
    check("wpo", weights * -log_sigmoid(0.2 * H), beta=0.2, max_weight=None)


def test_wpo_weights_have_no_gradient():
    pairs = pairs_of(CASES)

    losses_of("wpo", pairs, beta=0.2).sum().backward()

    wanted = -np.minimum(list(alignments()), 1) * 0.2 * sigmoid(-0.2 * H)
    np.testing.assert_allclose(pairs.chosen.tokens.grad[:, 1].numpy(), wanted)


def test_discopop_mixes_a_logistic_and_an_exponential_loss():
    x, m = 0.05 * H, sigmoid(0.05 * H / 0.05)
    check("discopop", -log_sigmoid(x) * (1 - m) + np.exp(-x) * m)


def test_discopop_stands_still_where_its_paper_says():
    for h in (-2.37140, 1.44012):
        pairs = pairs_of([type(CASES[0])([h - 3], [-1.0], [-3.0], [-1.0])])
        losses_of("discopop", pairs).sum().backward()
        assert pairs.chosen.tokens.grad[0, 1].item() == pytest.approx(0, abs=1e-6)


def test_unlikelihood_raises_chosen_and_lowers_rejected():
    check("unlikelihood", -PI_W + 0.3 * PI_L, alpha=0.3)


def test_preferred_ft_is_the_likelihood_of_the_chosen_answer():
    check("preferred_ft", -PI_W)
    check("preferred_ft", [-np.mean(case.policy_chosen) for case in CASES], per_token=True)


def test_modpo_takes_the_other_objectives_margin_off():
    margin = np.array([case.columns["aspect_margin"] for case in CASES])
    check("modpo", -log_sigmoid((0.1 * H - margin) / 0.7), aspects={"brevity": 0.1, "safety": 0.2})


def test_aot_compares_sorted_margins():
    wanted = -log_sigmoid(0.1 * (np.sort(PI_W - PI_L) - np.sort(REF_W - REF_L)))
    found = losses_of("aot", pairs_of(CASES)).detach().numpy()

    np.testing.assert_allclose(found[np.argsort(PI_W - PI_L)], wanted)


def test_aot_unpaired_compares_sorted_rewards():
    wanted = -log_sigmoid(0.1 * (np.sort(PI_W - REF_W) - np.sort(PI_L - REF_L)))
    found = losses_of("aot_unpaired", pairs_of(CASES)).detach().numpy()

    np.testing.assert_allclose(found[np.argsort(PI_W - REF_W)], wanted)


def test_kto_counts_from_the_mean_of_mismatched_answers():
    z0 = max(0, np.mean([case.mismatched for case in CASES]))
    assert z0 > 0
    chosen, rejected = sigmoid(0.1 * (PI_W - REF_W - z0)), sigmoid(0.1 * (z0 - PI_L + REF_L))
    wanted = (1.5 * (1 - chosen) + 0.5 * (1 - rejected)) / 2
    check("kto", wanted, desirable_weight=1.5, undesirable_weight=0.5)


def test_kto_counts_from_zero_where_mismatched_answers_have_become_less_likely():
    pairs = pairs_of(CASES)
    lower = type(pairs)(pairs.chosen, pairs.rejected, pairs.columns, torch.full((6,), -3.0, dtype=torch.float64))

    found = losses_of("kto", lower).detach().numpy()

    np.testing.assert_allclose(found, (2 - sigmoid(0.1 * (PI_W - REF_W)) - sigmoid(-0.1 * (PI_L - REF_L))) / 2)


def test_bco_counts_rewards_above_their_running_mean():
    config, pairs = config_of("bco"), pairs_of(CASES)
    mean = 0.1 * np.concatenate([PI_W - REF_W, PI_L - REF_L]).mean()
    first = moment_of("bco", config)
    moved = LOSSES["bco"].move(pairs, config, first)
    assert moved == {"mean": pytest.approx(mean), "batches": 1}

    second = Moment({"mean": 0.5, "batches": 2})
    delta = (2 * 0.5 + mean) / 3
    wanted = -log_sigmoid(0.1 * (PI_W - REF_W) - delta) - log_sigmoid(-(0.1 * (PI_L - REF_L) - delta))
    np.testing.assert_allclose(LOSSES["bco"].formula(pairs, config, second).detach().numpy(), wanted)


def test_beta_dpo_with_all_pairs_is_dpo_with_the_batchs_beta():
    config, pairs = config_of("beta_dpo", keep=1.0), pairs_of(CASES)
    moment = Moment({"gap_mean": 0.4, "gap_std": 2.0}, seed=3, step=7)
    gap_mean = 0.9 * 0.4 + 0.1 * H.mean()
    beta = max(1e-3, 0.1 * (1 + 0.6 * (H.mean() - gap_mean)))

    found = LOSSES["beta_dpo"].formula(pairs, config, moment).detach().numpy()

    np.testing.assert_allclose(found, -log_sigmoid(beta * H))
    state = LOSSES["beta_dpo"].move(pairs, config, moment)
    assert state == {
        "gap_mean": pytest.approx(gap_mean),
        "gap_std": pytest.approx(0.9 * 2 + 0.1 * H.std(ddof=1)),
    }


def test_beta_dpo_leaves_unusual_pairs_out_and_keeps_the_mean_over_the_others():
    cases = random_cases(10, seed=2)
    strange = [*cases[:8], *(type(case)([-0.1], [-90.0], [-90.0], [-0.1]) for case in cases[8:])]
    pairs = pairs_of([type(case)(*(getattr(case, name) for name in SIDES)) for case in strange])
    config, moment = config_of("beta_dpo"), Moment({"gap_mean": 0.0, "gap_std": 2.0}, seed=1, step=5)

    found = LOSSES["beta_dpo"].formula(pairs, config, moment)

    assert (found[8:] == 0).all()
    kept = pairs.difference[:8]
    state = LOSSES["beta_dpo"].move(pairs, config, moment)
    beta = max(1e-3, 0.1 * (1 + 0.6 * (kept.mean().item() - state["gap_mean"])))
    assert found.mean().item() == pytest.approx(-log_sigmoid(beta * kept.detach().numpy()).mean())


SIDES = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")


def test_beta_dpo_draws_the_same_pairs_at_the_same_step_and_others_later():
    pairs, config = pairs_of(random_cases(10, seed=2)), config_of("beta_dpo", keep=0.5)

    def drawn(seed, step):
        moment = Moment({"gap_mean": 0.0, "gap_std": 2.0}, seed, step)
        return tuple((LOSSES["beta_dpo"].formula(pairs, config, moment) > 0).tolist())

    assert drawn(1, 5) == drawn(1, 5)
    assert sum(drawn(1, 5)) == 5
    assert len({drawn(1, step) for step in range(10)}) > 1
    assert len({drawn(seed, 5) for seed in range(10)}) > 1
