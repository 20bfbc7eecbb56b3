"""Cases as the formulas see them, and configs of all losses."""

import json
from pathlib import Path

import numpy as np
import torch

from benchmarks.loss_trainer import Case
from training.config import TrainingConfig
from training.losses.catalogue import LOSSES
from training.losses.loss import Moment
from training.losses.pairs import Pairs, Side

FACTS = json.loads((Path(__file__).parent / "loss_fixtures.json").read_text())
REQUIRED = {"modpo": {"aspects": {"brevity": 0.3}}}


def config_of(name, **fields):
    """Give a loss's hyper-parameters, defaults where none are given."""
    return TrainingConfig.model_validate({"loss": {"name": name, **REQUIRED.get(name, {}), **fields}}).loss


def random_cases(n, seed=0, weights=None):
    """Pairs of uneven lengths with everything that a loss can ask for."""
    rng = np.random.default_rng(seed)
    columns = ("margin", "soft_label", "chosen_p_win", "rejected_p_win", "aspect_margin")

    def case(number):
        n_chosen, n_rejected = rng.integers(1, 9, size=2)
        given = [(-rng.exponential(size=size)).tolist() for size in (n_chosen, n_rejected, n_chosen, n_rejected)]
        return Case(
            *given,
            columns=dict(zip(columns, rng.uniform(0.05, 0.95, len(columns)).tolist(), strict=True)),
            mismatched=float(rng.normal(1)),
            sum_sq=(-rng.exponential(size=n_chosen + n_rejected)).tolist(),
            weight=1.0 if weights is None else weights[number],
        )

    return [case(number) for number in range(n)]


def pairs_of(cases, dtype=torch.float64):
    """Cases as pairs, the answers padded on both sides, token log-probs ready for gradients."""
    columns = {name: torch.tensor([case.columns[name] for case in cases], dtype=dtype) for name in cases[0].columns}
    return Pairs(
        _side(cases, "chosen", dtype),
        _side(cases, "rejected", dtype),
        columns,
        torch.tensor([case.mismatched for case in cases], dtype=dtype),
    )


def moment_of(name, config, **state):
    """The moment before the first step."""
    initial = LOSSES[name].initial
    return Moment((initial(config) if initial else {}) | state)


def losses_of(name, pairs, **fields):
    """One loss a pair, before the first step."""
    config = config_of(name, **fields)
    return LOSSES[name].formula(pairs, config, moment_of(name, config))


def _side(cases, name, dtype):
    rows = [getattr(case, f"policy_{name}") for case in cases]
    refs = [torch.tensor(getattr(case, f"ref_{name}"), dtype=dtype) for case in cases]
    width = max(len(row) for row in rows) + 2
    tokens, mask = torch.zeros(len(rows), width, dtype=dtype), torch.zeros(len(rows), width, dtype=torch.bool)
    sum_sq = torch.zeros_like(tokens)
    for number, (row, case) in enumerate(zip(rows, cases, strict=True)):
        where = slice(1, 1 + len(row))
        tokens[number, where] = torch.tensor(row, dtype=dtype)
        mask[number, where] = True
        stats = case.sum_sq or [0.0] * (len(case.policy_chosen) + len(case.policy_rejected))
        start = 0 if name == "chosen" else len(case.policy_chosen)
        sum_sq[number, where] = torch.tensor(stats[start : start + len(row)], dtype=dtype)
    shared = [min(len(case.policy_chosen), len(case.policy_rejected)) for case in cases]
    return Side(
        tokens.requires_grad_(),
        mask,
        torch.stack([ref.sum() for ref in refs]),
        torch.stack([ref[:n].sum() for ref, n in zip(refs, shared, strict=True)]),
        sum_sq,
    )
