"""Losses that read columns of the pairs, through the real trainer: the first loss against the formula by hand."""

import numpy as np
import pytest
import torch

from training.policies.policy import load_policy
from training.train import train

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
SOFT, P_WIN, P_LOSE, HONEST, SHORT = RNG.random((5, 12))
MODPO = {"name": "modpo", "beta": 0.2, "aspects": {"honest": 0.25, "short": 0.35}}


def ignore(done, total, metrics):
    """Take a step's progress."""


@pytest.fixture(scope="module")
def told(pairs, table_of):
    """The pairs with soft labels, win rates and aspects."""
    rows = pairs.to_pylist()
    for n, row in enumerate(rows):
        row |= {"soft_label": SOFT[n], "chosen_p_win": P_WIN[n], "rejected_p_win": P_LOSE[n]}
        row["chosen_aspects"] = {"honest": 1 + HONEST[n], "short": 2.0, "spare": 7.0}
        row["rejected_aspects"] = {"short": 2 + SHORT[n], "honest": 1.0}
    return table_of(rows)


@pytest.fixture(scope="module")
def ratios(pairs, start, other, tokenizer):
    """H of the chosen and of the rejected answers, by transformers alone."""
    models = load_policy(start.model), load_policy(other.model)
    found = np.empty((2, 12))
    for n, row in enumerate(pairs.to_pylist()):
        prompt = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, return_dict=False)
        for half, side in enumerate(("chosen", "rejected")):
            ids = torch.tensor([prompt + row[f"{side}_token_ids"]])
            with torch.no_grad():
                steps = [model(ids).logits[0, :-1].double().log_softmax(-1) for model in models]
            policy, reference = (one.gather(1, ids[0, 1:, None])[len(prompt) - 1 :].sum().item() for one in steps)
            found[half, n] = policy - reference
    return found


def soft_dpo(chosen, rejected):
    x = 0.2 * (chosen - rejected)
    return SOFT * np.logaddexp(0, -x) + (1 - SOFT) * np.logaddexp(0, x)


def sppo(chosen, rejected):
    return ((chosen - (P_WIN - 0.5) / 0.2) ** 2 + (rejected - (P_LOSE - 0.5) / 0.2) ** 2) / 2


def modpo(chosen, rejected):
    aspects = 0.25 * HONEST - 0.35 * SHORT
    return np.logaddexp(0, -(0.2 * (chosen - rejected) - aspects) / 0.4)


@pytest.mark.parametrize(
    ("loss", "by_hand"),
    [({"name": "soft_dpo", "beta": 0.2}, soft_dpo), ({"name": "sppo", "beta": 0.2}, sppo), (MODPO, modpo)],
)
def test_the_first_loss_is_that_of_the_pairs_columns(job, vary, told, ratios, other, loss, by_hand):
    result = train(vary(job, {"loss": loss, "batch_size": 12}, pairs=told, reference=other), ignore)
    expected = by_hand(*ratios).mean()
    assert [result.step0.expected_loss, result.step0.observed_loss] == pytest.approx([expected] * 2, abs=1e-4)


@pytest.mark.parametrize("loss", [{"name": "soft_dpo"}, {"name": "sppo"}, MODPO, {"name": "odpo"}])
def test_pairs_without_what_the_loss_asks_for_raise_before_training(job, vary, loss):
    with pytest.raises(ValueError, match=r"asks for .*, which 12 of 12 pairs lack, the first is pair pair0: "):
        train(vary(job, {"loss": loss}), ignore)
    assert not job.output.exists()
