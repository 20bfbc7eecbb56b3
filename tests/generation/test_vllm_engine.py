"""vLLM's offline engine with a real, tiny model, in this process; one engine for all tests of the file."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from generation.config import SamplingConfig, VllmConfig
from generation.engine import Answer, PolicyFiles
from generation.identity import prompt_id
from generation.render import load_tokenizer
from generation.sampling import Sampling
from generation.schema import PROMPTS
from generation.vllm_engine import QUEUE_FACTOR, VllmEngine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),  # vllm 0.30 with torch 2.13
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),  # peft 0.21 with transformers 5.23
]

K = 4
SAMPLING = SamplingConfig(max_new_tokens=40)
CONFIG = VllmConfig(dtype="float32", max_num_seqs=8, kv_cache_mb=16)


@pytest.fixture(scope="module")
def engine(tiny_policy: Path) -> Iterator[VllmEngine]:
    with VllmEngine(CONFIG, PolicyFiles(str(tiny_policy), "tiny"), K, SAMPLING) as engine:
        yield engine


def in_order(answered: Iterable[tuple[int, Answer]]) -> list[Answer]:
    answers = dict(answered)
    return [answers[row] for row in sorted(answers)]


def token_ids(answers: list[Answer]) -> list[list[list[int] | None]]:
    return [[completion.token_ids for completion in answer.completions] for answer in answers]


def test_the_same_seeds_give_the_same_answers_in_any_order_of_feeding(engine, requests):
    answers = in_order(engine.sample(enumerate(requests)))
    backwards = in_order(engine.sample(reversed(list(enumerate(requests)))))
    few = in_order(engine.sample(list(enumerate(requests))[5:8]))
    assert token_ids(answers) == token_ids(backwards)
    assert token_ids(answers)[5:8] == token_ids(few)
    assert len({tuple(ids) for answer in token_ids(answers) for ids in answer}) == len(requests) * K


def test_finished_answers_end_in_their_only_stop_token_and_cut_ones_in_none(engine, requests):
    completions = [c for answer in in_order(engine.sample(enumerate(requests))) for c in answer.completions]
    assert {completion.finish_reason for completion in completions} == {"stop", "length"}
    for completion in completions:
        assert completion.token_ids.count(2) == (completion.finish_reason == "stop")
        assert (completion.token_ids[-1] == 2) == (completion.finish_reason == "stop")
        assert completion.n_tokens == len(completion.token_ids)


def test_the_feed_takes_no_more_engine_steps_than_one_bare_call(engine, requests, monkeypatch):
    from vllm import TokensPrompt

    steps = count_steps(engine, monkeypatch)
    answers = in_order(engine.sample(enumerate(requests)))
    fed, steps[0] = steps[0], 0
    outputs = engine.llm.generate(
        [TokensPrompt(prompt_token_ids=request.prompt_ids) for request in requests],
        [engine.params(request) for request in requests],
        use_tqdm=False,
    )
    assert token_ids(answers) == [[list(c.token_ids) for c in output.outputs] for output in outputs]
    assert fed <= 1.01 * steps[0]


def count_steps(engine: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    steps = [0]
    step = engine.llm.llm_engine.step

    def counted():
        steps[0] += 1
        return step()

    monkeypatch.setattr(engine.llm.llm_engine, "step", counted)
    return steps


def test_requests_are_pulled_as_the_queue_empties(engine, requests):
    pulled = []

    def feed():
        for row, request in enumerate(requests):
            pulled.append(row)
            yield row, request

    answered = engine.sample(feed())
    next(answered)
    in_queue = -(-QUEUE_FACTOR * CONFIG.max_num_seqs // K)
    assert len(pulled) <= in_queue + 1
    answered.close()


def test_a_reader_that_stops_early_leaves_nothing_in_the_engine(engine, requests):
    answered = engine.sample(enumerate(requests))
    next(answered)
    answered.close()
    assert engine.llm.llm_engine.get_num_unfinished_requests() == 0
    assert len(in_order(engine.sample(enumerate(requests[:2])))) == 2


def test_one_prompt_that_is_too_long_goes_to_the_drops(engine, tiny_policy):
    conversations = [[{"role": "user", "content": text}] for text in ("Hi", "fox " * 300, "Bye")]
    rows = [{"prompt_id": prompt_id(messages), "messages": messages} for messages in conversations]
    table = pa.Table.from_pylist(rows, schema=PROMPTS)
    policy = PolicyFiles(str(tiny_policy), "tiny")
    stage = Sampling(engine, load_tokenizer(policy), policy, K, SAMPLING, 0, 1)
    items = stage.items(table)
    tables = stage.collect(table, items, in_order(stage.stream(enumerate(items))))
    assert tables["drops"].select(["id", "reason"]).to_pylist() == [
        {"id": rows[1]["prompt_id"], "reason": "prompt_too_long"}
    ]
    assert tables["part"]["prompt_id"].to_pylist() == [rows[0]["prompt_id"]] * K + [rows[2]["prompt_id"]] * K


def test_a_process_without_the_engines_environment_is_refused(tiny_policy, monkeypatch):
    monkeypatch.delenv("VLLM_ENABLE_V1_MULTIPROCESSING")
    with (
        pytest.raises(RuntimeError, match="engine_environment"),
        VllmEngine(CONFIG, PolicyFiles(str(tiny_policy), "tiny"), K, SAMPLING),
    ):
        pass


def test_a_closed_engine_says_so(tiny_policy):
    with pytest.raises(RuntimeError, match="use it inside"):
        VllmEngine(CONFIG, PolicyFiles(str(tiny_policy), "tiny"), K, SAMPLING).llm  # noqa: B018
