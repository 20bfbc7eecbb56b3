"""The loss of a reward model: Bradley-Terry (arXiv 2204.05862), with a margin and with rewards kept near zero."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def bradley_terry(
    chosen: "torch.Tensor", rejected: "torch.Tensor", margins: "torch.Tensor", center_coefficient: float
) -> "torch.Tensor":
    """Give -log sigmoid(r_w - r_l - m) + c (r_w + r_l)^2 of each pair.

    The first term is equation 2 of Llama 2 (arXiv 2307.09288), the second that of arXiv 2312.09244, section 2.2.

    Args:
        chosen: r_w, shape `(pairs,)`.
        rejected: r_l, same shape.
        margins: m, in units of the reward, same shape.
        center_coefficient: c.
    """
    from torch.nn.functional import softplus

    return softplus(-(chosen - rejected - margins)) + center_coefficient * (chosen + rejected) ** 2
