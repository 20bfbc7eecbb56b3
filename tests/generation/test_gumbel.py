"""Gumbel-max sampling against the distribution it must draw from."""

import pytest
import torch

from generation.config import SamplingConfig
from generation.gumbel import GumbelMax

CPU = torch.device("cpu")
SCORES = torch.tensor([2.0, 1.0, 0.0, -1.0])
ROWS = 20_000


def draw(**sampling) -> torch.Tensor:
    sampler = GumbelMax(list(range(ROWS)), SamplingConfig(**sampling), CPU)
    chosen = sampler(torch.empty(ROWS, 0), SCORES.expand(ROWS, -1).clone()).argmax(-1)
    return torch.bincount(chosen, minlength=4) / ROWS


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_tokens_are_drawn_from_the_tempered_softmax(temperature):
    wanted = (SCORES / temperature).softmax(-1)
    assert torch.allclose(draw(temperature=temperature), wanted, atol=0.012)  # 3.4 standard errors at most


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    probabilities = SCORES.softmax(-1)  # 0.644, 0.237, 0.087, 0.032
    assert torch.allclose(
        draw(top_p=0.7), torch.tensor([*(probabilities[:2] / probabilities[:2].sum()), 0, 0]), atol=0.012
    )
    assert draw(top_p=0.64).tolist() == [1, 0, 0, 0]


def test_temperature_0_takes_the_likeliest_token():
    assert draw(temperature=0.0).tolist() == [1, 0, 0, 0]


def test_a_row_depends_on_its_seed_and_not_on_its_neighbours():
    scores = torch.randn(3, 50)
    together = GumbelMax([5, 6, 7], SamplingConfig(), CPU)(torch.empty(3, 0), scores)
    alone = GumbelMax([6], SamplingConfig(), CPU)(torch.empty(1, 0), scores[1:2])
    assert torch.equal(together[1], alone[0])


def test_logprob_sums_are_raw_and_stop_at_the_row_length():
    sampler = GumbelMax([1, 2], SamplingConfig(temperature=0.0), CPU)
    for scale in (1.0, 2.0):
        sampler(torch.empty(2, 0), scale * SCORES.expand(2, -1))
    first, second = (float((scale * SCORES).log_softmax(-1)[0]) for scale in (1.0, 2.0))
    assert sampler.logprob_sums([1, 2]) == pytest.approx([first, first + second])
