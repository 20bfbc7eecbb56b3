"""vLLM's offline engine under settings of its own: one engine after the other in this process, never two at once."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from generation.config import SamplingConfig, TransformersConfig, VllmConfig
from generation.engine import Answer, PolicyFiles, Request
from generation.engines import open_engine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),  # vllm 0.30 with torch 2.13
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),  # peft 0.21 with transformers 5.23
]

K = 4
SAMPLING = SamplingConfig(max_new_tokens=40)
CONFIG = VllmConfig(dtype="float32", max_num_seqs=8, kv_cache_mb=16)


def sample(
    folder: Path,
    requests: list[Request],
    adapter: Path | None = None,
    k: int = K,
    sampling: SamplingConfig = SAMPLING,
    config: VllmConfig | TransformersConfig = CONFIG,
) -> list[Answer]:
    policy = PolicyFiles(str(folder), "tiny", str(adapter) if adapter else None)
    with open_engine(config, policy, k, sampling) as engine:
        answers = dict(engine.sample(enumerate(requests)))
    return [answers[row] for row in range(len(requests))]


def token_ids(answers: list[Answer]) -> list[list[list[int] | None]]:
    return [[completion.token_ids for completion in answer.completions] for answer in answers]


def test_log_probs_are_the_models_own_whatever_the_temperature(tiny_policy, requests):
    answers = sample(tiny_policy, requests[:6], sampling=SamplingConfig(temperature=0.7, top_p=0.9, max_new_tokens=40))
    assert_log_probs_match(AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32), requests, answers)


def assert_log_probs_match(model, requests: list[Request], answers: list[Answer]) -> None:
    for request, answer in zip(requests, answers, strict=False):
        for completion in answer.completions:
            ids = request.prompt_ids + completion.token_ids
            with torch.no_grad():
                logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            positions = torch.arange(len(request.prompt_ids) - 1, len(ids) - 1)
            wanted = logprobs[positions, torch.tensor(completion.token_ids)].double().sum()
            assert completion.logprob_sum == pytest.approx(float(wanted), abs=1e-4)


def test_an_adapter_changes_the_answers_and_its_log_probs_match_peft(tiny_policy, tiny_adapter, requests):
    from peft import PeftModel

    answers = sample(tiny_policy, requests[:6], tiny_adapter)
    assert token_ids(answers) != token_ids(sample(tiny_policy, requests[:6]))
    base = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32)
    assert_log_probs_match(PeftModel.from_pretrained(base, tiny_adapter), requests, answers)


@pytest.mark.parametrize("adapter", [False, True])
def test_on_a_cpu_both_engines_give_a_seed_the_same_answer(tiny_policy, tiny_adapter, requests, adapter):
    sampling = SamplingConfig(temperature=0.8, top_p=0.95, max_new_tokens=40)
    folder = tiny_adapter if adapter else None
    one = sample(tiny_policy, requests[:6], folder, sampling=sampling)
    other = sample(tiny_policy, requests[:6], folder, sampling=sampling, config=TransformersConfig(dtype="float32"))
    assert token_ids(one) == token_ids(other)
    assert [[c.text for c in a.completions] for a in one] == [[c.text for c in a.completions] for a in other]


def test_raising_k_adds_answers_and_changes_none(tiny_policy, requests):
    more = token_ids(sample(tiny_policy, requests[:4], k=K + 2))
    assert token_ids(sample(tiny_policy, requests[:4])) == [ids[:K] for ids in more]


def test_an_answer_ends_where_the_context_does(tiny_policy, requests):
    config = CONFIG.model_copy(update={"max_model_len": len(requests[0].prompt_ids) + 3})
    (answer,) = sample(tiny_policy, requests[:1], config=config)
    assert [(c.n_tokens, c.finish_reason) for c in answer.completions] == [(3, "length")] * K


def test_temperature_0_gives_one_greedy_answer(tiny_policy, requests):
    sampling = SamplingConfig(temperature=0, max_new_tokens=12)
    one = sample(tiny_policy, requests[:4], k=1, sampling=sampling)
    other = sample(tiny_policy, requests[:4], k=1, sampling=sampling, config=TransformersConfig(dtype="float32"))
    assert token_ids(one) == token_ids(other)


def test_a_closed_engine_leaves_torch_as_it_was(tiny_policy, requests):
    before = torch.set_num_threads
    sample(tiny_policy, requests[:1])
    assert torch.set_num_threads is before
    assert not torch.distributed.is_initialized()
