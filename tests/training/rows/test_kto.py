"""KTO through the real trainer: its estimate of how far the policy is from the reference, and what it trains."""

import numpy as np
import pytest
import torch

from training.policies.policy import load_policy, read_limits
from training.rows.examples import build_examples
from training.rows.mismatched import add_mismatched
from training.train import train

pytestmark = pytest.mark.slow

KTO = {"loss": {"name": "kto", "beta": 0.5, "desirable_weight": 1.25}, "batch_size": 12}


@pytest.fixture(scope="module")
def examples(pairs, tokenizer, rendering, start):
    """The pairs as `job` trains on them, with seed 3."""
    limits = read_limits(start, tokenizer)
    return add_mismatched(build_examples(pairs, tokenizer, rendering, limits, None), 3, limits.max_positions).kept


def metric(result, name):
    return np.array([row["value"] for row in result.metrics.to_pylist() if row["name"] == name])


def ignore(done, total, metrics):
    """Take a step's progress."""


def log_ratios(model, reference, examples, answers):
    """H of an answer to each example's prompt, by transformers alone."""
    found = []
    for example, answer in zip(examples, answers, strict=True):
        ids = torch.tensor([example.prompt_ids + answer])
        with torch.no_grad():
            steps = [one(ids).logits[0, :-1].double().log_softmax(-1) for one in (model, reference)]
        totals = [one.gather(1, ids[0, 1:, None])[-len(answer) :].sum().item() for one in steps]
        found.append(totals[0] - totals[1])
    return np.array(found)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_the_loss_falls_from_one_half_where_the_policy_is_its_reference(job, vary):
    result = train(vary(job, {"loss": {"name": "kto", "beta": 0.5}, "batch_size": 12, "epochs": 8}), ignore)
    losses = metric(result, "loss")
    assert [result.step0.expected_loss, *losses[:2]] == pytest.approx([0.5] * 3, abs=1e-6)
    assert (np.diff(losses[1:]) < 0).all()
    assert losses[-1] < 0.35
    assert metric(result, "rewards/margins")[-1] > 1


@pytest.mark.parametrize("likelier", [True, False])
def test_the_estimate_of_the_divergence_is_that_of_transformers_alone(job, vary, examples, start, other, likelier):
    policy, reference = (start, other) if likelier else (other, start)
    result = train(vary(job, KTO, start=policy, reference=reference), ignore)

    models = load_policy(policy.model), load_policy(reference.model)
    mismatched, chosen, rejected = (
        log_ratios(*models, examples, answers)
        for answers in (
            [example.mismatched for example in examples],
            [example.chosen.token_ids for example in examples],
            [example.rejected.token_ids for example in examples],
        )
    )
    z0 = max(0.0, mismatched.mean())
    expected = (1.25 * sigmoid(0.5 * (z0 - chosen)) + sigmoid(0.5 * (rejected - z0))).mean() / 2
    assert (z0 > 1) == likelier
    assert metric(result, "loss")[:2] == pytest.approx([expected] * 2, abs=1e-5)


def test_pairs_of_one_prompt_raise_before_training(job, vary, pair_row, table_of):
    rows = [pair_row(1), pair_row(2) | {name: pair_row(1)[name] for name in ("prompt_id", "messages", "prompt_hash")}]
    with pytest.raises(ValueError, match="the 2 pairs have one prompt only"):
        train(vary(job, KTO, pairs=table_of(rows)), ignore)
    assert not job.output.exists()


def test_a_pair_that_no_other_answer_fits_to_is_in_the_ledger(job, vary, pair_row, table_of, tokenizer):
    long = {"messages": [{"role": "user", "content": "word " * 40}], "prompt_hash": None}
    short = {"chosen_token_ids": [50, 2], "rejected_token_ids": [51, 2]}
    lengthy = {"chosen_token_ids": [50] * 11 + [2], "rejected_token_ids": [51] * 11 + [2]}
    rows = [pair_row(1, **lengthy), pair_row(2, **lengthy), pair_row(3, **long, **short)]
    prompt = tokenizer.apply_chat_template(long["messages"], add_generation_prompt=True, return_dict=False)
    result = train(vary(job, KTO | {"max_length": len(prompt) + 4}, pairs=table_of(rows)), ignore)
    assert result.counts["pairs_trained"] == 2
    assert [(row["id"], row["reason"], row["value"]) for row in result.drops.to_pylist()] == [
        ("pair3", "no_mismatched_fits", len(prompt) + 12)
    ]
