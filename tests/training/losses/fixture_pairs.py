"""The cases of the loss fixtures as pairs."""

import json
from pathlib import Path

import torch

from training.losses.pairs import Pairs, Side

FIXTURES = json.loads((Path(__file__).parent / "loss_fixtures.json").read_text())
CASES = sorted(FIXTURES["cases"])


def side(case, name):
    """One answer of a case, its token log-probs ready for gradients."""
    tokens = torch.tensor([FIXTURES["cases"][case][f"policy_{name}"]], dtype=torch.float64, requires_grad=True)
    ref = torch.tensor([FIXTURES["cases"][case][f"ref_{name}"]], dtype=torch.float64)
    n_shared = min(len(FIXTURES["cases"][case][f"policy_{which}"]) for which in ("chosen", "rejected"))
    return Side(
        tokens, torch.ones_like(tokens, dtype=torch.bool), ref.sum(dim=1), ref_shared=ref[:, :n_shared].sum(dim=1)
    )


def pairs_of(case, mismatched=None, **columns):
    """A case as one pair."""
    given = {name: torch.tensor([value], dtype=torch.float64) for name, value in columns.items()}
    ratio = None if mismatched is None else torch.tensor([mismatched], dtype=torch.float64)
    return Pairs(side(case, "chosen"), side(case, "rejected"), given, ratio)
