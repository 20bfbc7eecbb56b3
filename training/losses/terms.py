"""Functions that losses share, without overflow where a pair is hopeless."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# A mean log-prob nearer to 0 counts as this: in float32, 1 - p is then still known to two digits.
_NEAREST_TO_CERTAIN = -1e-6


def softplus(x: "torch.Tensor") -> "torch.Tensor":
    """Give log(1 + e^x) = -log sigmoid(-x)."""
    from torch.nn import functional

    return functional.softplus(x)


def log_odds(log_p: "torch.Tensor") -> "torch.Tensor":
    """Give log(p / (1 - p)) from log p < 0; log(1 - p) loses no digits near p = 1, and p is held below 1 - 1e-6."""
    log_p = log_p.clamp(max=_NEAREST_TO_CERTAIN)
    return log_p - (-log_p.expm1()).log()
