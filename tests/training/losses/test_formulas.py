"""The loss formulas against numbers from the papers' own sources."""

import pytest

from tests.training.losses.fixture_pairs import CASES, FIXTURES, pairs_of
from training.losses.catalogue import LOSSES
from training.losses.length_normalised import SimpoConfig
from training.losses.logistic import DpoConfig
from training.losses.loss import Moment

CONFIGS = {
    "dpo": DpoConfig(name="dpo", beta=0.1),
    "simpo": SimpoConfig(name="simpo", beta=2.5, gamma_beta_ratio=0.55),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_loss_and_gradient_are_those_of_the_original_sources(name, case):
    config, pairs = CONFIGS[name], pairs_of(case)
    expected = FIXTURES["losses"][name]["expected"][case]

    loss = LOSSES[config.name].formula(pairs, config, Moment({}))
    loss.sum().backward()

    assert loss.item() == pytest.approx(expected["loss"], abs=1e-7)
    assert pairs.chosen.tokens.grad[0, 0].item() == pytest.approx(expected["grad_chosen_tok0"], abs=1e-6)
    assert pairs.rejected.tokens.grad[0, 0].item() == pytest.approx(expected["grad_rejected_tok0"], abs=1e-6)
