"""All preference losses by the name that recipes use."""

from typing import Annotated

from pydantic import Field

from training.losses.length_normalised import SIMPO, SimpoConfig
from training.losses.logistic import DPO, DpoConfig
from training.losses.loss import Loss

LossConfig = Annotated[DpoConfig | SimpoConfig, Field(discriminator="name")]

LOSSES: dict[str, Loss] = {
    "dpo": DPO,
    "simpo": SIMPO,
}
