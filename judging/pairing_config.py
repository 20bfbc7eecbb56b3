"""What a recipe says about making pairs from scores."""

from typing import Literal

from pydantic import BaseModel, Field


class PairingConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """How scored candidates become pairs."""

    rule: Literal["best_worst"] = "best_worst"
    """best_worst takes the highest and the lowest score of a prompt, as in Iterative DPO."""
    min_margin: float = Field(default=0.0, ge=0)
    """Pairs need a score difference above this; 0 drops only ties. Unit: the judge's score."""
    length_control: Literal["none", "fitted"] = "none"
    """fitted takes a price for each character off the scores before it pairs, the one at which a round's chosen and
    rejected answers have one mean length (DICE); pairs whose chosen answer then has no higher score are dropped."""
