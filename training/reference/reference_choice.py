"""Which choices of a reference go with which losses and options: checked before anything is loaded."""

from training.config import TrainingConfig
from training.losses.catalogue import LOSSES
from training.losses.one_sided import BcoConfig

OWN_RATIO = frozenset({"kto", "nca", "sppo", "apo_zero", "apo_down", "sppo_hard", "dpop"})
"""Losses that hold an answer's own log-ratio against a fixed point, not only against the other answer's; bco does
without its shift."""


def check_reference(config: TrainingConfig) -> None:
    """Check that the reference, and where its log-probs come from, make sense together with the loss.

    Raises:
        ValueError: They do not; the message says why.
    """
    name, loss = config.loss.name, LOSSES[config.loss.name]
    if not loss.reference and config.reference != "initial":
        raise ValueError(f"training.reference has no effect on {name}, which has no reference: leave it out")
    unshifted = isinstance(config.loss, BcoConfig) and not config.loss.shift
    if config.reference == "none" and (name in OWN_RATIO or unshifted):
        raise ValueError(
            f"training.reference none gives every answer log ref = 0, which only means something up to a constant, but "
            f"{name} holds each answer's own log-ratio against a fixed point: take another reference, or a loss on "
            "differences such as dpo"
        )
    if config.generator_logprobs:
        _check_generator(config, name)


def _check_generator(config: TrainingConfig, name: str) -> None:
    loss = LOSSES[name]
    why = None
    if not loss.reference:
        why = f"{name} has no reference"
    elif config.reference == "none":
        why = "training.reference none needs no log-probs"
    elif config.reference == "ema":
        why = "an average of policies (training.reference ema) has generated nothing"
    elif loss.shared:
        why = f"{name} needs log-probs of parts of answers, and generators store sums"
    elif config.lora is not None and config.lora.quantize:
        why = "training.lora.quantize computes the reference in 4 bits, which the generator does not"
    if why:
        raise ValueError(f"training.generator_logprobs can't be used: {why}; leave it out")
