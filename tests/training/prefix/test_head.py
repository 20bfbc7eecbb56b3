"""The head that keeps its probabilities gives what TRL's gives, which computes them twice."""

import pytest
import torch
from torch import nn
from trl.kernels.chunked_logprob import ChunkedLogProbFunction

from training.prefix import head as module
from training.prefix.head import Logits, score

OUTPUTS = ("entropy", "log_sum_sq_probs", "mean_logits", "is_top1")


def head_and_inputs(bias=False):
    torch.manual_seed(0)
    head = nn.Linear(8, 50, bias=bias)
    return head, torch.randn(30, 8, requires_grad=True), torch.randint(0, 50, (30,))


def results(log_probs, fields, head, hidden):
    """All that is said, and the gradients of a weighted sum of log-probs."""
    leaves = [hidden, *head.parameters()]
    gradients = torch.autograd.grad((log_probs * torch.linspace(-1, 2, len(log_probs))).sum(), leaves)
    return [log_probs, *fields, *gradients]


def by_trl(head, hidden, labels, logits):
    log_probs, *fields = ChunkedLogProbFunction.apply(
        hidden, head.weight, head.bias, labels, 1.0, 16, logits.softcap, logits.scale, OUTPUTS
    )
    return results(log_probs, fields, head, hidden)


def by_us(head, hidden, labels, logits):
    found = score(hidden, head, labels, logits, OUTPUTS)
    return results(found.log_probs, [getattr(found, name) for name in OUTPUTS], head, hidden)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("logits", [Logits(1.0, None), Logits(0.25, None), Logits(0.5, 3.0)], ids=str)
@pytest.mark.parametrize("kept", [1 << 28, 10], ids=["kept", "computed twice"])
def test_values_and_gradients_are_trls(monkeypatch, bias, logits, kept):
    monkeypatch.setattr(module, "_MAX_KEPT", kept)
    inputs = head_and_inputs(bias)
    for one, other in zip(by_us(*inputs, logits), by_trl(*inputs, logits), strict=True):
        assert torch.allclose(one.float(), other.float(), atol=2e-6)


def test_tiles_of_few_rows_give_the_same(monkeypatch):
    head, hidden, labels = head_and_inputs()
    whole = by_us(head, hidden, labels, Logits(1.0, None))
    monkeypatch.setattr(module, "_TILE", 200)
    monkeypatch.setattr(module, "_FEWEST_ROWS", 1)
    for one, other in zip(by_us(head, hidden, labels, Logits(1.0, None)), whole, strict=True):
        assert torch.allclose(one.float(), other.float(), atol=1e-6)


def test_a_label_that_ties_with_an_earlier_token_is_not_top1():
    head = nn.Linear(2, 4, bias=False)
    head.weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    found = score(torch.ones(3, 2), head, torch.tensor([1, 2, 3]), Logits(1.0, None), ("is_top1",))
    assert found.is_top1 is not None
    assert found.is_top1.tolist() == [True, False, False]


def test_a_second_backward_raises_rather_than_giving_other_gradients():
    head, hidden, labels = head_and_inputs()
    total = score(hidden, head, labels, Logits(1.0, None), ()).log_probs.sum()
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="retain_graph is not supported"):
        total.backward()


def test_the_scale_is_read_under_the_names_that_models_give_it():
    class Config:
        model_type = "granite"
        logits_scaling = 4.0

    assert Logits.of(Config) == Logits(0.25, None)
