"""Which hyper-parameters each loss takes, and what it refuses."""

import pytest
from pydantic import ValidationError

from tests.training.losses.cases import REQUIRED, config_of
from training.config import TrainingConfig
from training.losses.catalogue import LOSSES


@pytest.mark.parametrize("name", LOSSES)
def test_loss_stands_under_its_own_name_with_defaults(name):
    config = config_of(name)

    assert config.name == name
    for field, about in type(config).model_fields.items():
        assert field == "name" or about.description


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_takes_what_is_no_number_or_not_its_own(name):
    with pytest.raises(ValidationError, match="Extra inputs"):
        config_of(name, betta=0.1)
    for field, about in type(config_of(name)).model_fields.items():
        if about.annotation is float:
            with pytest.raises(ValidationError, match="finite number"):
                config_of(name, **{field: float("nan")})
            with pytest.raises(ValidationError, match="greater than"):
                config_of(name, **{field: -0.1})


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("simpo", {"beta": 0.1}),
        ("cpo_simpo", {"beta": 0.1}),
        ("ln_dpo", {"beta": 0.1}),
        ("simpo", {"gamma_beta_ratio": 3.0}),
        ("cdpo", {"epsilon": 0.5}),
        ("robust", {"epsilon": 0.5}),
        ("exo", {"epsilon": 0.0}),
        ("ld_dpo", {"alpha": 1.5}),
        ("unlikelihood", {"alpha": 2.0}),
        ("beta_dpo", {"momentum": 1.0}),
        ("beta_dpo", {"keep": 0.0}),
        ("discopop", {"tau": 2.0}),
        ("modpo", {"aspects": {}}),
        ("modpo", {"aspects": {"brevity": 0.0}}),
        ("modpo", {"aspects": {"brevity": 0.6, "safety": 0.4}}),
    ],
)
def test_nonsense_is_refused(name, fields):
    with pytest.raises(ValidationError):
        config_of(name, **fields)


def test_simpo_does_not_inherit_the_beta_of_dpo():
    assert config_of("dpo").beta == 0.1
    assert config_of("simpo").beta == 2.0


def test_loss_over_a_whole_batch_refuses_micro_batches():
    def config(micro, name, **fields):
        loss = {"name": name, **REQUIRED.get(name, {}), **fields}
        return TrainingConfig.model_validate({"batch_size": 8, "micro_batch_size": micro, "loss": loss})

    for name in ("kto", "bco", "beta_dpo", "aot", "aot_unpaired"):
        with pytest.raises(
            ValidationError, match=f"micro_batch_size is 4, below batch_size = 8, but loss {name} looks"
        ):
            config(4, name)
        assert config(8, name).loss.name == name
    assert config(4, "bco", shift=False).micro_batch_size == 4
    assert config(4, "dpo").micro_batch_size == 4


def test_loss_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ValidationError, match="'dpo', 'rpo'"):
        config_of("bcoo")
