"""Log-probs of given answers under a real model."""

import json
import shutil

import numpy as np
import pytest
import torch

from training.logprobs import sequence_logprobs
from training.policies.policy import load_policy

PROMPTS = [[1, 3, 50, 4], [1, 3, 60, 61, 62, 4], [1, 4], [1, 3, 50, 4]]
ANSWERS = [[70, 71, 2], [80], [90, 91, 92, 93, 94, 2], [72, 2]]


@pytest.fixture(scope="module")
def model(start):
    return load_policy(start.model)


def one_by_one(model):
    """The same sums, without batches or padding, in float64."""
    sums = []
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).logits[0].double()
        steps = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        sums.append(sum(steps[i, token].item() for i, token in enumerate(answer)))
    return sums


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_sums_are_those_of_unbatched_sequences(model, batch_size):
    sums = sequence_logprobs(model, PROMPTS, ANSWERS, pad_id=0, batch_size=batch_size)
    assert sums.dtype == np.float64
    assert sums == pytest.approx(one_by_one(model), abs=1e-4)


def test_bfloat16_computes_in_mixed_precision(model):
    sums = sequence_logprobs(model, PROMPTS, ANSWERS, pad_id=0, batch_size=2, compute="bfloat16")
    assert sums == pytest.approx(one_by_one(model), abs=0.5)
    assert sums != pytest.approx(one_by_one(model), abs=1e-4)


def test_a_model_is_put_into_eval_mode(model):
    model.train()
    sequence_logprobs(model, PROMPTS, ANSWERS, pad_id=0, batch_size=8)
    assert not model.training


def test_no_dropout_is_left_for_training_not_even_in_attention(start, tmp_path):
    shutil.copytree(start.model, tmp_path / "dropping")
    config = tmp_path / "dropping" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"attention_dropout": 0.5}))
    model = load_policy(str(tmp_path / "dropping")).train()
    assert torch.equal(*(model(torch.tensor(PROMPTS[1:2])).logits for _ in range(2)))


def test_no_sequence_gives_no_sum(model):
    assert sequence_logprobs(model, [], [], pad_id=0, batch_size=8).tolist() == []
