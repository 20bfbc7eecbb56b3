"""What supervised fine-tuning can be told."""

from pydantic import Field

from training.fits.fit_config import FitConfig


class SftConfig(FitConfig, frozen=True):
    """Supervised fine-tuning on answers; the defaults are those of Zephyr's SFT (alignment-handbook), one pass."""

    learning_rate: float = Field(default=2e-5, gt=0, allow_inf_nan=False)
    """Peak learning rate; about ten times more with `lora`."""
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in [0, 1) over which the learning rate rises."""
    merge_adapter: bool = True
    """With `lora`: write whole weights with the adapter merged in, which every command takes as a model; false writes
    the adapter alone, for a recipe's `policy.adapter`."""
