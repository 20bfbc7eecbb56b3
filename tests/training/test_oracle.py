"""The exact oracle: where the best policy is known in closed form, training must arrive at it.

One prompt, five answers; preferences follow Bradley-Terry with known rewards. The minimum of the expected DPO loss is
pi(y) proportional to ref(y) exp(r(y) / beta) (arXiv 2305.18290, eq. 4), that of the expected IPO loss
ref(y) exp(p(y better than a uniform draw) / tau) (arXiv 2310.12036, eq. 17 and theorem 1).
"""

import numpy as np
import pytest
import torch

from generation.render import load_tokenizer, render_prompt
from training.losses.catalogue import LOSSES
from training.losses.logistic import DpoConfig
from training.losses.loss import Moment
from training.losses.noisy_labels import RobustConfig
from training.losses.pairs import Pairs, Side
from training.losses.shapes import IpoConfig
from training.policies.policy import load_policy
from training.train import train

REWARDS = np.array([0.3, -0.8, 1.1, 0.0, -0.2])
REFERENCE = np.array([0.4, 0.1, 0.05, 0.25, 0.2])
BETA = 0.5
BETTER = 1 / (1 + np.exp(REWARDS[None, :] - REWARDS[:, None]))  # [i, j]: P(i better than j), Bradley-Terry
ORDERED = [(i, j) for i in range(5) for j in range(5) if i != j]


def normal(values):
    return values / values.sum()


def pairs_of(logits):
    """All ordered pairs of the five answers, each an answer of one token, under softmax(logits)."""
    logprobs, ref = torch.log_softmax(logits, 0), torch.log(torch.tensor(REFERENCE))
    sides = [
        Side(logprobs[list(rows)][:, None], torch.ones(20, 1, dtype=torch.bool), ref[list(rows)])
        for rows in zip(*ORDERED, strict=True)
    ]
    return Pairs(*sides)


def minimise(config, better=BETTER):
    """Minimise the expected loss over all categorical policies; give the best one."""
    weights = torch.tensor([better[pair] for pair in ORDERED])
    logits = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = (LOSSES[config.name].formula(pairs_of(logits), config, Moment({})) * weights).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return torch.softmax(logits.detach(), 0).numpy()


def test_dpo_finds_the_closed_form():
    found = minimise(DpoConfig(name="dpo", beta=BETA))
    assert found == pytest.approx(normal(REFERENCE * np.exp(REWARDS / BETA)), abs=1e-6)


def test_ipo_finds_the_closed_form():
    found = minimise(IpoConfig(name="ipo", beta=BETA))
    against_a_random_one = BETTER.mean(axis=1)
    assert found == pytest.approx(normal(REFERENCE * np.exp(against_a_random_one / BETA)), abs=1e-6)


def test_robust_dpo_finds_it_from_labels_that_are_flipped_at_its_rate():
    flipped = 0.9 * BETTER + 0.1 * BETTER.T
    found = minimise(RobustConfig(name="robust", beta=BETA, epsilon=0.1), flipped)
    assert found == pytest.approx(normal(REFERENCE * np.exp(REWARDS / BETA)), abs=1e-6)


@pytest.mark.slow
def test_the_whole_training_finds_it_too(job, vary, pair_row, table_of, start):
    """The same through pairs, weights, tokens, TRL's trainer and the written policy."""
    tokenizer = load_tokenizer(start)
    answers = [[10], [20], [30], [40], [50]]
    rows = [
        pair_row(
            0, pair_id=f"{i}-{j}", weight=float(BETTER[i, j]),
            **{f"{side}_token_ids": answers[k] for side, k in (("chosen", i), ("rejected", j))},
            **{f"{side}_finish_reason": "length" for side in ("chosen", "rejected")},
        )
        for i, j in ORDERED
    ]  # fmt: skip
    settings = {
        "loss": {"name": "dpo", "beta": BETA}, "batch_size": 20, "epochs": 250, "learning_rate": 3e-3,
        "lr_schedule": "linear",
    }  # fmt: skip
    train(vary(job, settings, pairs=table_of(rows)), lambda *_: None)

    prompt = render_prompt(tokenizer, rows[0]["messages"])
    before, after = (
        five(load_policy(model), prompt, [answer[0] for answer in answers]) for model in (start.model, str(job.output))
    )
    assert after == pytest.approx(normal(before * np.exp(REWARDS / BETA)), abs=1e-4)
    assert np.abs(after - before).max() > 0.2


def five(model, prompt, tokens):
    """The next-token distribution over five tokens."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0, -1].double()
    return normal(torch.softmax(logits, 0).numpy()[tokens])
