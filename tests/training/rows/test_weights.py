"""Pairs that do not all count the same, through the real TRL."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from training.policies.policy import load_policy
from training.train import train

pytestmark = pytest.mark.slow

WEIGHTS = (1.0, 0.05, 0.7, 0.3)


def losses(result):
    return [row["value"] for row in result.metrics.to_pylist() if row["name"] == "loss"]


def ignore(done, total, metrics):
    """Take a step's progress."""


def weighted(pairs, table_of, weights):
    """The pairs with weights, which come again from the start."""
    return table_of([row | {"weight": weights[n % len(weights)]} for n, row in enumerate(pairs.to_pylist())])


def difference(model, tokenizer, row):
    """The chosen answer's log-prob less the rejected one's, by transformers alone."""
    prompt = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, return_dict=False)
    sums = []
    for side in ("chosen", "rejected"):
        ids = torch.tensor([prompt + row[f"{side}_token_ids"]])
        with torch.no_grad():
            steps = model(ids).logits[0, :-1].double().log_softmax(-1)
        sums.append(steps.gather(1, ids[0, 1:, None])[len(prompt) - 1 :].sum().item())
    return sums[0] - sums[1]


def test_the_first_loss_is_the_weighted_mean(job, vary, pairs, start, other, table_of, tokenizer):
    uneven = weighted(pairs, table_of, WEIGHTS)
    result = train(vary(job, {"batch_size": 12}, pairs=uneven, reference=other), ignore)
    policy, reference = load_policy(start.model), load_policy(other.model)
    h = np.array(
        [difference(policy, tokenizer, row) - difference(reference, tokenizer, row) for row in pairs.to_pylist()]
    )
    each, weights = np.logaddexp(0.0, -0.1 * h), np.tile(WEIGHTS, 3)
    assert losses(result)[:2] == pytest.approx([np.average(each, weights=weights)] * 2, abs=1e-5)
    assert abs(np.average(each, weights=weights) - each.mean()) > 1e-3


def test_micro_batches_of_uneven_weight_change_nothing(job, vary, pairs, table_of, tmp_path):
    uneven = vary(job, {"epochs": 2}, pairs=weighted(pairs, table_of, WEIGHTS).slice(0, 11))
    whole = train(uneven, ignore)
    parts = train(vary(uneven, {"micro_batch_size": 2}, output=tmp_path / "parts"), ignore)
    even = train(vary(uneven, pairs=pairs.slice(0, 11), output=tmp_path / "even"), ignore)
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-5)
    assert losses(even) != pytest.approx(losses(whole), abs=1e-3)


def test_a_pair_of_next_to_no_weight_has_next_to_no_influence(job, vary, pairs, table_of, tmp_path):
    four, outputs = pairs.slice(0, 4), {}
    tables = {
        "light": weighted(four, table_of, (1.0, 1.0, 1.0, 1e-9)), "without": four.slice(0, 3), "heavy": four,
    }  # fmt: skip
    for name, table in tables.items():
        outputs[name] = tmp_path / name
        train(vary(job, {"epochs": 3}, pairs=table, output=outputs[name]), ignore)
    light, without, heavy = (load_file(folder / "model.safetensors") for folder in outputs.values())

    def apart(one, two):
        return max((one[name] - two[name]).abs().max().item() for name in one)

    assert apart(light, without) < 0.02 * apart(heavy, without)


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_a_weight_out_of_range_raises_before_training(job, vary, pairs, table_of, weight):
    with pytest.raises(ValueError, match=rf"pair pair1: its weight is {weight}; expected a number above 0 and up to 1"):
        train(vary(job, pairs=weighted(pairs, table_of, (1.0, weight))), ignore)
    assert not job.output.exists()
