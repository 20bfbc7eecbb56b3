import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from generation.chat_client import ChatClient
from generation.config import OpenAIConfig, SamplingConfig
from generation.engine import Answer, Completion, PolicyFiles, Request
from generation.openai_engine import OpenAIEngine
from generation.outside_server import Dialect
from generation.vllm_server import RunningServer, ServerGoneError, serve_policy, server_command
from generation.weights_check import TOLERANCE, check_served_weights, compute_probe, resolve_dtype
from tests.fake_openai import FakeServer, chat_body, raw, status

# peft asks transformers for an attribute by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

SAMPLING = SamplingConfig(temperature=1.0, max_new_tokens=60)
OUTSIDE = PolicyFiles(model="outside", key="outside")


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def outside_engine(fake: FakeServer, k: int = 2, **changes) -> OpenAIEngine:
    options = {"base_url": fake.base_url, "model": "big", "concurrency": 1, "max_retries": 0}
    return OpenAIEngine(OpenAIConfig(**(options | changes)), OUTSIDE, k, SAMPLING)


def ask(text: str, seed: int = 100) -> Request:
    return Request(f"prompt-{text}", [{"role": "user", "content": text}], [], seed)


def numbered(body: dict) -> dict:
    """Answer with the seed of each sample, as a server that takes n does."""
    return chat_body([f"{body['messages'][0]['content']} {body['seed'] + j}" for j in range(body.get("n", 1))])


def refuse(*names: str):
    """Answer 400 to bodies with one of these fields."""

    async def step(request):
        body = await request.json()
        if any(name in body for name in names):
            return await status(400, "Unrecognized request argument")(request)
        return web.json_response(numbered(body))

    return step


def texts(answer: Answer) -> list[str]:
    return [completion.text for completion in answer.completions]


def test_outside_server_answers_k_times_with_one_request(fake):
    fake.answer = numbered
    with outside_engine(fake, k=3) as engine:
        before = len(fake.bodies)
        [(tag, answer)] = engine.sample([("a", ask("hi"))])
    assert (tag, texts(answer)) == ("a", ["hi 100", "hi 101", "hi 102"])
    assert len(fake.bodies) - before == 1
    assert fake.bodies[-1]["n"] == 3
    assert fake.bodies[-1]["model"] == "big"


def test_server_that_ignores_n_is_asked_k_times_with_seeds_of_their_own(fake):
    fake.answer = lambda body: numbered(body | {"n": 1})
    with outside_engine(fake, k=3, concurrency=2) as engine:
        answers = dict(engine.sample([("a", ask("hi")), ("b", ask("ho", seed=7))]))
    assert texts(answers["a"]) == ["hi 100", "hi 101", "hi 102"]
    assert texts(answers["b"]) == ["ho 7", "ho 8", "ho 9"]


@pytest.mark.parametrize("unknown", [("return_token_ids",), ("n", "return_token_ids")])
def test_server_that_refuses_fields_is_asked_without_them(fake, unknown):
    fake.script = [refuse(*unknown)] * 20
    with outside_engine(fake, k=2) as engine:
        [(_, answer)] = engine.sample([(0, ask("hi"))])
    assert texts(answer) == ["hi 100", "hi 101"]
    assert not set(unknown) & set(fake.bodies[-1])


def test_server_that_refuses_n_is_not_sent_it_for_one_answer_either(fake):
    fake.script = [refuse("n")] * 20
    with outside_engine(fake, k=1) as engine:
        [(_, answer)] = engine.sample([(0, ask("hi"))])
    assert texts(answer) == ["hi 100"]


def test_token_ids_are_kept_where_the_server_gives_them(fake):
    fake.answer = lambda body: chat_body(["yes"] * body["n"], token_ids=[5, 6, 2])
    with outside_engine(fake) as engine:
        [(_, answer)] = engine.sample([(0, ask("hi"))])
    assert answer.completions == [Completion("yes", [5, 6, 2], None, "stop", 3)] * 2


def test_tokens_are_counted_by_the_server_where_it_gives_no_ids_and_one_choice(fake):
    with outside_engine(fake, k=1) as engine:
        [(_, answer)] = engine.sample([(0, ask("hi"))])
    assert answer.completions == [Completion("yes", None, None, "stop", 3)]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"choices": []}, "invalid_reply"),
        ({"text": "hello"}, "invalid_reply"),
        ({"choices": [{"message": {"content": ["a", "b"]}}]}, "invalid_reply"),
        (chat_body(["only one"]), "fewer_candidates"),
        ({"choices": [{"message": {"content": None}}, {"message": {"content": None}}]}, "no_text"),
        (chat_body(["a", "b"], finish_reason="content_filter"), "content_filter"),
        (chat_body(["a", "b"], finish_reason="tool_calls"), "tool_calls"),
    ],
)
def test_reply_with_wrong_content_is_an_error_not_an_answer(fake, reply, error):
    with outside_engine(fake) as engine:
        fake.answer = lambda body: reply
        assert list(engine.sample([(0, ask("hi"))])) == [(0, Answer([], error))]


def test_unusual_finish_reason_counts_as_unknown(fake):
    fake.answer = lambda body: chat_body(["a"] * body["n"], finish_reason="eos_token")
    with outside_engine(fake) as engine:
        [(_, answer)] = engine.sample([(0, ask("hi"))])
    assert [completion.finish_reason for completion in answer.completions] == [None, None]


def test_trouble_with_one_of_k_requests_is_the_prompts_error(fake):
    fake.answer = lambda body: numbered(body | {"n": 1})
    with outside_engine(fake, k=3) as engine:
        fake.script = [status(400, "maximum context length"), raw(b"{")]
        answers = dict(engine.sample([("a", ask("hi")), ("b", ask("ho"))]))
    assert answers["a"].error in ("too_long", "invalid_json")
    assert answers["a"].completions == []
    assert len(answers["b"].completions) == 3


def test_outside_server_that_gives_no_chat_is_refused_at_the_start(fake):
    fake.answer = lambda body: {"hello": "world"}
    with pytest.raises(ValueError, match=r"no chat completion \(invalid_reply.*generation\.engine\.base_url"):
        outside_engine(fake).__enter__()


def test_outside_server_without_the_model_is_refused_at_the_start(fake):
    fake.script = [status(404, "The model `big` does not exist.")]
    with pytest.raises(ValueError, match=r"does not exist.*generation\.engine\.model"):
        outside_engine(fake).__enter__()


def test_an_outside_servers_length_is_left_to_it(fake):
    assert outside_engine(fake).max_model_len > 10**9


def test_command_serves_the_policy_under_its_key(tmp_path):
    command = server_command(PolicyFiles("folder", "key1"), OpenAIConfig(), "bfloat16", 8000, on_gpu=True)
    assert command[command.index("--served-model-name") + 1] == "key1"
    assert command[command.index("--generation-config") + 1] == "vllm"
    assert "--kv-cache-memory-bytes" not in command
    assert "--enforce-eager" not in command
    (tmp_path / "adapter_config.json").write_text('{"r": 12}')
    policy = PolicyFiles("folder", "key1", adapter=str(tmp_path))
    command = server_command(policy, OpenAIConfig(), "float32", 8000, on_gpu=False)
    assert command[command.index("--served-model-name") + 1] == "key1-base"
    assert json.loads(command[command.index("--lora-modules") + 1]) == {"name": "key1", "path": str(tmp_path)}
    assert command[command.index("--max-lora-rank") + 1] == "16"
    assert command[command.index("--kv-cache-memory-bytes") + 1] == str(1 << 30)
    assert "--no-enable-chunked-prefill" in command


def test_ended_server_is_reported_with_the_cause_and_the_end_of_its_log(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    process.wait()
    log = tmp_path / "log"
    log.write_text("\n".join(["start", "RuntimeError: no weights", *["noise"] * 30, "last words"]))
    with pytest.raises(ServerGoneError, match="ended with code 3") as error:
        RunningServer("http://127.0.0.1:1/v1", 8, process, log).check_alive()
    assert "RuntimeError: no weights" in str(error.value)
    assert str(error.value).endswith("last words")
    assert "start" not in str(error.value).splitlines()


def test_auto_takes_the_checkpoints_number_format_but_bfloat16_for_float32(tiny_policy):
    policy = PolicyFiles(str(tiny_policy), "tiny")
    assert resolve_dtype(policy, "auto") == "bfloat16"
    assert resolve_dtype(policy, "float32") == "float32"


# From here on: vLLM's real server, one for all tests, with an adapter on the tiny policy.


@pytest.fixture(scope="module")
def policy(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> PolicyFiles:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    adapter = tmp_path_factory.mktemp("models") / "adapter"
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_policy), lora).save_pretrained(adapter)
    return PolicyFiles(str(tiny_policy), "tuned", adapter=str(adapter))


@pytest.fixture(scope="module")
def other_policy(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> PolicyFiles:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(9)
    folder = tmp_path_factory.mktemp("models") / "other"
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tiny_policy)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_policy).save_pretrained(folder)
    return PolicyFiles(str(folder), "tuned")


@pytest.fixture(scope="module")
def engine(policy: PolicyFiles) -> Iterator[OpenAIEngine]:
    config = OpenAIConfig(dtype="float32", kv_cache_mb=64, concurrency=8)
    with OpenAIEngine(config, policy, 4, SAMPLING) as engine:
        yield engine


@pytest.fixture(scope="module")
def tokenizer(tiny_policy: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_policy)


@pytest.fixture(scope="module")
def requests(tokenizer) -> list[Request]:
    questions = [[{"role": "user", "content": f"What is {i} plus two?"}] for i in range(8)]
    render = {"add_generation_prompt": True, "return_dict": False}
    return [
        Request(f"p{i}", messages, tokenizer.apply_chat_template(messages, **render), seed=1000 * i)
        for i, messages in enumerate(questions)
    ]


@pytest.fixture(scope="module")
def answers(engine: OpenAIEngine, requests: list[Request]) -> list[Answer]:
    answers = dict(engine.sample(enumerate(requests)))
    return [answers[i] for i in range(len(requests))]


def forward_logprobs(policy: PolicyFiles, prompt_ids: list[int], token_ids: list[int]) -> list[float]:
    """Compute the raw log-probs of a completion with transformers."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(policy.model, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, policy.adapter) if policy.adapter else model
    ids = torch.tensor([prompt_ids + token_ids])
    with torch.inference_mode():
        logprobs = model(ids).logits[0, :-1].log_softmax(-1)
    picked = logprobs.gather(-1, ids[0, 1:, None])[:, 0]
    return picked[len(prompt_ids) - 1 :].tolist()


@pytest.mark.slow
def test_log_probs_are_those_of_a_forward_pass_over_the_returned_ids(answers, requests, policy):
    for request, answer in zip(requests, answers, strict=True):
        for completion in answer.completions:
            expected = sum(forward_logprobs(policy, request.prompt_ids, completion.token_ids))
            assert completion.logprob_sum == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_finished_answer_ends_in_one_stop_token_and_cut_one_in_none(answers, tokenizer):
    seen = set()
    for completion in (completion for answer in answers for completion in answer.completions):
        stops = completion.token_ids.count(tokenizer.eos_token_id)
        assert stops == (1 if completion.finish_reason == "stop" else 0)
        assert (completion.token_ids[-1] == tokenizer.eos_token_id) == (completion.finish_reason == "stop")
        assert completion.n_tokens == len(completion.token_ids) <= 60
        whole = tokenizer.decode(completion.token_ids, skip_special_tokens=True)
        assert whole.startswith(completion.text)
        assert not whole.removeprefix(completion.text).strip("\ufffd")  # half a character at the end is left out
        seen.add(completion.finish_reason)
    assert seen == {"stop", "length"}


@pytest.mark.slow
def test_sample_j_is_drawn_with_seed_plus_j(engine, requests, answers):
    shifted = [(0, replace(requests[0], seed=requests[0].seed + 1))]
    [(_, answer)] = engine.sample(shifted)
    assert answer.completions[:3] == answers[0].completions[1:]


@pytest.mark.slow
def test_answer_near_the_models_length_is_cut_and_longer_prompt_is_an_error(engine, tokenizer):
    ids = (tokenizer("The quick brown fox ")["input_ids"] * 100)[: engine.max_model_len]
    prompts = [Request("near", [], ids[:-3], seed=0), Request("full", [], ids, seed=0)]
    answers = dict(engine.sample((request.prompt_id, request) for request in prompts))
    assert engine.max_model_len == 256
    assert {completion.n_tokens for completion in answers["near"].completions} == {3}
    assert answers["full"] == Answer([], "too_long")


@pytest.mark.slow
def test_weights_check_knows_policy_base_and_another_model_apart(engine, policy, other_policy):
    client = ChatClient(engine.server.base_url)
    tuned, base = compute_probe(policy, "float32"), compute_probe(replace(policy, adapter=None), "float32")
    assert check_served_weights(client, "tuned", tuned) < 1e-3
    assert check_served_weights(client, "tuned-base", base) < 1e-3
    for wrong in (base, compute_probe(other_policy, "float32")):
        with pytest.raises(RuntimeError, match="serves other weights under the name tuned"):
            check_served_weights(client, "tuned", wrong)
    half = replace(compute_probe(policy, "bfloat16"), dtype="bfloat16")
    assert check_served_weights(client, "tuned", half) < TOLERANCE["bfloat16"]


@pytest.mark.slow
def test_weights_check_refuses_a_name_that_is_not_served(engine, policy):
    with pytest.raises(ValueError, match="does not exist"):
        check_served_weights(ChatClient(engine.server.base_url), "round-2", compute_probe(policy, "float32"))


@pytest.mark.slow
def test_running_vllm_serves_as_an_outside_server_too(engine, requests, answers):
    config = OpenAIConfig(base_url=engine.server.base_url, model="tuned")
    with OpenAIEngine(config, OUTSIDE, 4, SAMPLING) as outside:
        assert outside._outside[1] == Dialect(several=True, token_ids=True)
        [(_, answer)] = outside.sample([(0, replace(requests[0], prompt_ids=[]))])
    assert [c.token_ids for c in answer.completions] == [c.token_ids for c in answers[0].completions]


@pytest.mark.slow
def test_server_without_weights_is_an_error_that_shows_why(tmp_path, tiny_policy, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    start = time.monotonic()
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((tiny_policy / file).read_bytes())
    policy = PolicyFiles(str(tmp_path), "empty")
    with (
        pytest.raises(RuntimeError, match="Cannot find any model weights"),
        serve_policy(policy, OpenAIConfig(kv_cache_mb=64), "float32"),
    ):
        pass
    assert time.monotonic() - start < 300
