"""Functions that losses share, without overflow where a pair is hopeless."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def softplus(x: "torch.Tensor") -> "torch.Tensor":
    """Give log(1 + e^x) = -log sigmoid(-x)."""
    from torch.nn import functional

    return functional.softplus(x)
