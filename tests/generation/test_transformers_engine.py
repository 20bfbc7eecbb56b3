"""transformers' generation with a real, tiny model."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from generation.config import SamplingConfig, TransformersConfig
from generation.engine import Answer, PolicyFiles, Request
from generation.engines import open_engine
from generation.render import load_tokenizer, render_prompt

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),  # peft 0.21 with transformers 5.23
]

K = 3
QUESTIONS = ["Hi", "What is two plus two?", "The quick brown fox jumps.", "A dog?", "fox " * 12]


def requests(folder: Path, questions: list[str] = QUESTIONS) -> list[Request]:
    tokenizer = load_tokenizer(PolicyFiles(str(folder), "tiny"))
    conversations = [[{"role": "user", "content": question}] for question in questions]
    return [
        Request(str(row), messages, render_prompt(tokenizer, messages), 64 * row)
        for row, messages in enumerate(conversations)
    ]


def sample(
    folder: Path, adapter: Path | None = None, sampling: SamplingConfig | None = None, k: int = K, **config
) -> list[Answer]:
    policy = PolicyFiles(str(folder), "tiny", str(adapter) if adapter else None)
    sampling = sampling or SamplingConfig(max_new_tokens=24)
    config = TransformersConfig(dtype="float32", **config)
    with open_engine(config, policy, k, sampling) as engine:
        answers = dict(engine.sample(enumerate(requests(folder))))
    return [answers[row] for row in range(len(answers))]


def texts(answers: list[Answer]) -> list[list[str]]:
    return [[completion.text for completion in answer.completions] for answer in answers]


def raw_logprob_sum(model, prompt: list[int], answer: list[int]) -> float:
    with torch.no_grad():
        logprobs = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    return sum(float(logprobs[len(prompt) + i - 1, token]) for i, token in enumerate(answer))


def test_answers_do_not_depend_on_the_batch(tiny_policy):
    whole = sample(tiny_policy, batch_size=64)
    assert texts(whole) == texts(sample(tiny_policy, batch_size=2 * K)) == texts(sample(tiny_policy, batch_size=1))
    assert len({text for answer in texts(whole) for text in answer}) == len(QUESTIONS) * K


def test_log_probs_are_the_models_own_whatever_the_temperature(tiny_policy):
    model = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32)
    answers = sample(tiny_policy, sampling=SamplingConfig(temperature=0.7, top_p=0.9, max_new_tokens=24))
    for request, answer in zip(requests(tiny_policy), answers, strict=True):
        for completion in answer.completions:
            wanted = raw_logprob_sum(model, request.prompt_ids, completion.token_ids)
            assert completion.logprob_sum == pytest.approx(wanted, abs=1e-4)


def test_finished_answers_end_in_their_only_stop_token_and_cut_ones_in_none(tiny_policy):
    answers = sample(tiny_policy, sampling=SamplingConfig(max_new_tokens=200), k=8, batch_size=16)
    finished = {"stop": 0, "length": 0}
    for completion in (completion for answer in answers for completion in answer.completions):
        finished[completion.finish_reason] += 1
        assert completion.token_ids.count(2) == (completion.finish_reason == "stop")
        assert (completion.token_ids[-1] == 2) == (completion.finish_reason == "stop")
        assert completion.n_tokens == len(completion.token_ids)
        assert "<|eos|>" not in completion.text
    assert min(finished.values()) > 0


def test_an_answer_ends_where_the_context_does_and_cuts_no_other(tiny_policy):
    longest = max(len(request.prompt_ids) for request in requests(tiny_policy))
    cut = sample(tiny_policy, max_model_len=longest + 3)
    free = sample(tiny_policy)
    for request, short, long in zip(requests(tiny_policy), cut, free, strict=True):
        room = min(24, longest + 3 - len(request.prompt_ids))
        for one, other in zip(short.completions, long.completions, strict=True):
            assert one.token_ids == other.token_ids[:room]


def test_settings_of_the_checkpoint_do_not_change_the_sampling(tiny_policy, tmp_path):
    folder = tmp_path / "opinionated"
    shutil.copytree(tiny_policy, folder)
    settings = {"do_sample": True, "top_k": 1, "repetition_penalty": 5.0, "eos_token_id": 2}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    assert texts(sample(folder)) == texts(sample(tiny_policy))


def test_every_stop_token_of_the_checkpoint_ends_an_answer(tiny_policy, tmp_path):
    folder = tmp_path / "stops"
    shutil.copytree(tiny_policy, folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": list(range(100, 200))}))
    for answer in sample(folder):
        for completion in answer.completions:
            stops = [token for token in completion.token_ids if token == 2 or 100 <= token < 200]
            assert stops == completion.token_ids[-1:] * (completion.finish_reason == "stop")


def test_an_adapter_changes_the_answers_and_their_log_probs_are_its_own(tiny_policy, tiny_adapter):
    from peft import PeftModel

    answers = sample(tiny_policy, tiny_adapter)
    assert texts(answers) != texts(sample(tiny_policy))
    base = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, tiny_adapter)
    completion = answers[1].completions[0]
    wanted = raw_logprob_sum(adapted, requests(tiny_policy)[1].prompt_ids, completion.token_ids)
    assert completion.logprob_sum == pytest.approx(wanted, abs=1e-4)


def test_temperature_0_is_greedy(tiny_policy):
    model = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32)
    answers = sample(tiny_policy, sampling=SamplingConfig(temperature=0, max_new_tokens=5), k=1)
    prompt = requests(tiny_policy)[1].prompt_ids
    greedy = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=5)[0, len(prompt) :].tolist()
    assert answers[1].completions[0].token_ids == greedy
