"""Log-probs of given answers under a real model."""

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


def test_the_model_is_left_without_dropout(model):
    model.train()
    first = sequence_logprobs(model, PROMPTS, ANSWERS, pad_id=0, batch_size=8)
    assert not model.training
    assert (first == sequence_logprobs(model, PROMPTS, ANSWERS, pad_id=0, batch_size=8)).all()


def test_no_sequence_gives_no_sum(model):
    assert sequence_logprobs(model, [], [], pad_id=0, batch_size=8).tolist() == []
