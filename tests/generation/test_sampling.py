"""The generation stage around an engine: seeds, refusals, tables."""

from pathlib import Path

import pyarrow as pa
import pytest

from generation.config import SamplingConfig
from generation.engine import Answer, Completion, PolicyFiles, Request
from generation.identity import base_seed, candidate_id, hash_token_ids, prompt_id
from generation.render import load_tokenizer, render_prompt, tokenizer_identity
from generation.sampling import Sampling
from generation.schema import CANDIDATES, DROPS, PROMPTS
from generation.scripted_engine import ScriptedEngine

K = 3


@pytest.fixture(scope="module")
def tokenizer(tiny_policy: Path):
    return load_tokenizer(PolicyFiles(str(tiny_policy), "tiny"))


def prompts(*contents: str) -> pa.Table:
    conversations = [[{"role": "user", "content": content}] for content in contents]
    return pa.Table.from_pylist([{"prompt_id": prompt_id(c), "messages": c} for c in conversations], schema=PROMPTS)


def script(request: Request) -> Answer:
    """Answer with the seed, so that a row shows whose it is; the prompt's content may ask for trouble."""
    content = request.messages[-1]["content"]
    if content == "fail":
        return Answer([], "server_error")
    count = K - 1 if content == "fewer" else K
    ids = None if content == "no ids" else [5, 6, 2]
    return Answer([Completion(f"{content} {request.seed + j}", ids, -1.5, "stop", 3) for j in range(count)])


def stage(tokenizer, script=script, **engine) -> Sampling:
    return Sampling(
        ScriptedEngine(script, **engine), tokenizer, PolicyFiles("folder", "tiny"), K, SamplingConfig(), 7, 2
    )


def run(stage: Sampling, table: pa.Table) -> dict[str, pa.Table]:
    requests = stage.items(table)
    answers = dict(stage.stream(enumerate(requests)))
    return stage.collect(table, requests, [answers[row] for row in range(len(requests))])


def test_each_prompt_gets_k_candidates_in_order(tokenizer):
    table = prompts("one", "two")
    tables = run(stage(tokenizer), table)
    assert tables["part"].schema == CANDIDATES
    assert tables["drops"].schema == DROPS
    assert tables["drops"].num_rows == 0
    rows = tables["part"].to_pylist()
    one, two = table["prompt_id"].to_pylist()
    assert [(row["prompt_id"], row["sample_index"]) for row in rows] == [(one, j) for j in range(K)] + [
        (two, j) for j in range(K)
    ]
    seed = base_seed(7, 2, two, K) + 1
    sampling = '{"temperature":1.0,"top_p":1.0,"max_new_tokens":512}'
    ids = render_prompt(tokenizer, [{"role": "user", "content": "two"}])
    assert rows[4] == {
        "prompt_id": two,
        "candidate_id": candidate_id(two, "tiny", sampling, seed, 1),
        "sample_index": 1,
        "text": f"two {seed}",
        "finish_reason": "stop",
        "token_ids": [5, 6, 2],
        "logprob_sum": -1.5,
        "n_tokens": 3,
        "policy": "tiny",
        "sampling": sampling,
        "seed": seed,
        "tokenizer": tokenizer_identity(tokenizer),
        "prompt_hash": hash_token_ids(ids),
        "n_prompt_tokens": len(ids),
    }


def test_a_prompt_that_is_too_long_never_reaches_the_engine(tokenizer):
    seen = []

    def note(request: Request) -> Answer:
        seen.append(request.messages[0]["content"])
        return script(request)

    tables = run(stage(tokenizer, note, max_model_len=12), prompts("one", "fox " * 20, "two"))
    assert sorted(seen) == ["one", "two"]
    (drop,) = tables["drops"].to_pylist()
    n_tokens = len(render_prompt(tokenizer, [{"role": "user", "content": "fox " * 20}]))
    assert (drop["reason"], drop["value"], drop["threshold"]) == ("prompt_too_long", n_tokens, 11)
    assert (drop["kind"], drop["stage"], drop["step"]) == ("prompt", "generation", "sampling")
    assert drop["context"].startswith("fox fox")


def test_a_prompt_that_just_fits_is_answered(tokenizer):
    fits = len(render_prompt(tokenizer, [{"role": "user", "content": "one"}])) + 1
    assert run(stage(tokenizer, max_model_len=fits), prompts("one"))["part"].num_rows == K
    assert run(stage(tokenizer, max_model_len=fits - 1), prompts("one"))["drops"].num_rows == 1


def test_errors_and_missing_samples_drop_the_whole_prompt(tokenizer):
    tables = run(stage(tokenizer), prompts("fail", "one", "fewer"))
    assert tables["part"].num_rows == K
    assert tables["drops"].select(["reason", "value", "threshold"]).to_pylist() == [
        {"reason": "server_error", "value": None, "threshold": None},
        {"reason": "fewer_candidates", "value": K - 1, "threshold": K},
    ]


def test_a_conversation_that_the_template_refuses_is_dropped(tokenizer, tiny_policy):
    picky = load_tokenizer(PolicyFiles(str(tiny_policy), "tiny"))
    picky.chat_template = "{% if messages[0].content == 'no' %}{{ raise_exception('no') }}{% endif %}x"
    tables = run(stage(picky), prompts("no", "yes"))
    assert tables["drops"]["reason"].to_pylist() == ["template_refused"]
    assert tables["part"].num_rows == K


def test_candidates_without_ids_name_no_tokenizer(tokenizer):
    rows = run(stage(tokenizer), prompts("no ids", "one"))["part"].to_pylist()
    assert [(row["token_ids"], row["tokenizer"] is None) for row in rows] == [(None, True)] * K + [
        ([5, 6, 2], False)
    ] * K


def test_without_a_tokenizer_the_server_renders():
    rows = run(stage(None), prompts("one"))["part"].to_pylist()
    assert rows[0]["text"] == f"one {rows[0]['seed']}"
    assert (rows[0]["prompt_hash"], rows[0]["n_prompt_tokens"], rows[0]["tokenizer"]) == (None, None, None)


def test_requests_are_pulled_only_as_they_are_needed(tokenizer):
    pulled = []
    sampling = stage(tokenizer, in_flight=2)

    def feed():
        for row, request in enumerate(sampling.items(prompts("one", "two", "three"))):
            pulled.append(row)
            yield row, request

    answered = sampling.stream(feed())
    assert next(answered)[0] == 1
    assert pulled == [0, 1]


def test_only_refused_prompts_and_no_prompts_make_empty_tables(tokenizer):
    tables = run(stage(tokenizer, max_model_len=2), prompts("one", "two"))
    assert (tables["part"].num_rows, tables["drops"].num_rows) == (0, 2)
    assert tables["part"].schema == CANDIDATES
    assert run(stage(tokenizer), prompts())["part"].num_rows == 0


def test_rows_that_do_not_agree_are_refused(tokenizer):
    with pytest.raises(ValueError, match="2 prompts, 0 requests, 0 answers: must agree"):
        stage(tokenizer).collect(prompts("one", "two"), [], [])


def test_k_equal_answers_are_refused(tokenizer):
    with pytest.raises(ValueError, match="temperature 0 draws the same answer k = 3 times"):
        Sampling(ScriptedEngine(script), tokenizer, PolicyFiles("f", "t"), 3, SamplingConfig(temperature=0), 0, 1)
