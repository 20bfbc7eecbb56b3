"""Log-probs with shared prompts are those of each row by itself."""

import numpy as np
import pytest

from training.logprobs import token_logprobs
from training.policies.policy import load_policy
from training.prefix.logprobs import shared_token_logprobs

PROMPTS = [[1, 3, 50, 4], [1, 3, 60, 61, 62, 4], [1, 4], [1, 3, 50, 4], [1, 3, 50, 4]]
ANSWERS = [[70, 71, 2], [80], [90, 91, 92, 93, 94, 2], [72, 2], [70, 71, 2]]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_every_token_has_its_own_log_prob(start, batch_size):
    model = load_policy(start.model)
    plain = token_logprobs(model, PROMPTS, ANSWERS, 0, 8)
    shared = shared_token_logprobs(model, PROMPTS, ANSWERS, batch_size)
    for one, other, answer in zip(plain, shared, ANSWERS, strict=True):
        assert len(other.logprobs) == len(answer)
        assert np.allclose(one.logprobs, other.logprobs, atol=1e-5)
        assert np.allclose(one.sum_sq, other.sum_sq, atol=1e-5)
    assert model.config._attn_implementation == "sdpa"


def test_no_sequence_gives_no_log_probs(start):
    assert shared_token_logprobs(load_policy(start.model), [], [], 8) == []
