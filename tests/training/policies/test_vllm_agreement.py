"""A policy trained here, in vLLM's real engine: it generates, and both say the same of what it wrote."""

import os

import numpy as np
import pytest

from generation.config import SamplingConfig, VllmConfig
from generation.engine import PolicyFiles, Request
from generation.engines import engine_environment
from generation.render import load_tokenizer, render_prompt
from generation.vllm_engine import VllmEngine
from training.logprobs import sequence_logprobs
from training.policies.policy import load_policy
from training.train import train

os.environ.update(engine_environment(VllmConfig()))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),  # vllm 0.30 with torch 2.13
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),  # peft 0.21 with transformers 5.23
]

CONFIG = VllmConfig(dtype="float32", max_num_seqs=8, kv_cache_mb=16)


@pytest.mark.parametrize("lora", [None, {"rank": 8, "alpha": 16}], ids=["full", "adapter"])
def test_vllm_and_the_trainer_give_a_trained_policys_answers_the_same_log_probs(job, vary, start, lora):
    train(vary(job, {"epochs": 3, "lora": lora}), lambda *_: None)
    adapter = str(job.output) if lora else None
    policy = PolicyFiles(start.model if lora else str(job.output), f"trained-{bool(lora)}", adapter)
    tokenizer = load_tokenizer(policy)
    messages = [[{"role": "user", "content": f"What is two plus {row}?"}] for row in range(8)]
    prompts = [render_prompt(tokenizer, one) for one in messages]
    requests = [Request(str(row), messages[row], ids, 4 * row) for row, ids in enumerate(prompts)]

    with VllmEngine(CONFIG, policy, 2, SamplingConfig(max_new_tokens=24)) as engine:
        answered = sorted(engine.sample(enumerate(requests)))
    rows = [(prompts[row], one) for row, answer in answered for one in answer.completions]
    lengths = np.array([len(one.token_ids) for _, one in rows])
    said = np.array([one.logprob_sum for _, one in rows])

    def ours(*policy):
        ids = [one.token_ids for _, one in rows]
        return sequence_logprobs(load_policy(*policy), [prompt for prompt, _ in rows], ids, 0, 16)

    assert len(rows) == 16
    assert lengths.min() >= 1
    assert np.abs((ours(policy.model, adapter) - said) / lengths).max() < 1e-4
    assert np.abs((ours(start.model) - said) / lengths).max() > 1e-2
