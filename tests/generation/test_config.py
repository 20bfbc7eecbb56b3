"""What a recipe may say about prompts and sampling."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from generation.config import GenerationConfig, OpenAIConfig, PromptsConfig, SplitConfig, VllmConfig
from generation.engines import engine_environment

SERVER = {"name": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "big"}


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        (GenerationConfig, {"k": 1}, "at least 2 candidates per prompt; set k to 2 or more"),
        (GenerationConfig, {"sampling": {"temperature": 0}}, "same answer k = 4 times"),
        (
            GenerationConfig,
            {"k": 1, "mix": [{"engine": SERVER, "k": 2}], "sampling": {"temperature": 0}},
            "same answer k = 2 times",
        ),
        (GenerationConfig, {"engine": {"name": "sglang"}}, "'vllm', 'transformers', 'openai'"),
        (GenerationConfig, {"engine": {"name": "vllm", "batch_size": 3}}, "Extra inputs are not permitted"),
        (OpenAIConfig, {"base_url": "http://127.0.0.1:1/v1"}, "`base_url` and `model` together"),
        (OpenAIConfig, SERVER | {"max_model_len": 64}, "leave it out beside `base_url`"),
        (PromptsConfig, {}, "exactly one of `path`"),
        (PromptsConfig, {"path": Path("a"), "dataset": "b"}, "exactly one of `path`"),
        (SplitConfig, {"eval_share": 0.6, "vault_share": 0.4}, "nothing would be left to train on"),
    ],
)
def test_what_can_not_work_is_refused(model, fields, message):
    with pytest.raises(ValidationError, match=message):
        model(**fields)


def test_one_own_answer_and_one_of_another_policy_make_a_pair():
    config = GenerationConfig.model_validate({"k": 1, "mix": [{"engine": SERVER, "k": 1}]})
    assert config.mix[0].policy is None


def test_only_an_engine_in_the_process_wants_an_environment():
    assert engine_environment(VllmConfig(threads=3))["OMP_NUM_THREADS"] == "3"
    assert engine_environment(OpenAIConfig()) == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": "http://ada:s3cret@host/v1"},
        {"base_url": "http://ada:s3/cret@host/v1"},
        {"base_url": "http://host/v1?key=s3cret"},
        {"api_key_env": "sk-s3cret"},
        {"api_key_env": "s3cret key"},
    ],
)
def test_a_password_in_place_of_an_address_or_a_name_is_refused_without_repeating_it(fields):
    with pytest.raises(ValidationError) as error:
        OpenAIConfig(**(SERVER | fields))
    assert "s3" not in str(error.value)
