"""Which references go with which losses and options."""

import pytest
import torch

from training.config import TrainingConfig
from training.losses.catalogue import LOSSES
from training.losses.loss import Moment
from training.losses.pairs import Pairs, Side
from training.reference.reference_choice import OWN_RATIO, check_reference

MODPO = {"name": "modpo", "aspects": {"brevity": 0.5}}
LD_DPO = {"loss": {"name": "ld_dpo"}}


def config_of(name, **fields):
    return TrainingConfig.model_validate({"loss": MODPO if name == "modpo" else {"name": name}} | fields)


def losses_at(name, shift):
    """Losses of four pairs of answers of one length, all reference log-probs moved by as much."""
    generator = torch.Generator().manual_seed(5)
    loss, config = LOSSES[name], config_of(name).loss

    def side():
        tokens, ref = (torch.rand(*shape, generator=generator, dtype=torch.float64) for shape in ((4, 3), (4,)))
        ref = -2 * ref + shift
        mask = torch.ones(4, 3, dtype=torch.bool)
        return Side(-tokens, mask, ref, ref_shared=ref, sum_sq=-tokens)

    columns = {column: torch.full((4,), 0.6, dtype=torch.float64) for column in loss.columns}
    moment = Moment(dict(loss.initial(config)) if loss.initial else {})
    return loss.formula(Pairs(side(), side(), columns, torch.full((4,), 0.3 - shift)), config, moment)


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.reference])
def test_the_losses_that_need_a_policy_as_reference_see_more_than_differences(name):
    same = all(torch.allclose(losses_at(name, shift), losses_at(name, 0.0)) for shift in (-20.0, 20.0))
    assert same == (name not in OWN_RATIO)


def test_a_uniform_reference_is_refused_where_it_is_known_up_to_a_constant_only():
    check_reference(config_of("dpo", reference="none"))
    with pytest.raises(ValueError, match="kto holds each answer's own log-ratio against a fixed point: take another"):
        check_reference(config_of("kto", reference="none"))


def test_a_uniform_reference_is_refused_for_bco_only_without_its_shift():
    check_reference(config_of("bco", reference="none"))
    with pytest.raises(ValueError, match="bco holds each answer's own log-ratio against a fixed point"):
        check_reference(TrainingConfig.model_validate({"loss": {"name": "bco", "shift": False}, "reference": "none"}))


def test_a_reference_without_effect_is_refused():
    with pytest.raises(ValueError, match=r"training\.reference has no effect on simpo, which has no reference"):
        check_reference(config_of("simpo", reference="none"))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"loss": {"name": "simpo"}}, "simpo has no reference"),
        ({"reference": "none"}, "reference none needs no log-probs"),
        ({"reference": "ema"}, "an average of policies"),
        (LD_DPO, "ld_dpo needs log-probs of parts of answers"),
        ({"lora": {"quantize": "nf4"}}, "computes the reference in 4 bits"),
    ],
)
def test_the_generators_log_probs_are_refused_where_they_can_never_stand_in(fields, why):
    with pytest.raises(ValueError, match=rf"training\.generator_logprobs can't be used: .*{why}.*; leave it out"):
        check_reference(TrainingConfig.model_validate({"generator_logprobs": True} | fields))
