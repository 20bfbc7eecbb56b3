"""Shared prompts change no number: every metric of every step is plain TRL's."""

import math

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def uneven(texts):
    """Four pairs of prompts and answers of all lengths."""
    return [(texts(n), texts(m), texts(k)) for n, m, k in ((9, 5, 2), (3, 1, 7), (6, 4, 4), (1, 8, 1))]


@pytest.fixture(scope="module")
def siblings(texts):
    """One prompt with one chosen answer and three rejected ones, and another one with a pair twice."""
    prompt, chosen, other = texts(7), texts(5), (texts(4), texts(3), texts(6))
    return [*((prompt, chosen, texts(n)) for n in (5, 5, 2)), other, other, (other[0], texts(2), texts(3))]


def assert_equal(plain, shared, tolerance=1e-4):
    assert len(plain) == len(shared) > 0
    for one, other in zip(plain, shared, strict=True):
        assert one.keys() == other.keys() >= {"loss", "grad_norm", "entropy", "mean_token_accuracy", "num_tokens"}
        assert other == pytest.approx(one, abs=tolerance, rel=tolerance)
        assert other["num_tokens"] == one["num_tokens"]
        assert other["mean_token_accuracy"] == one["mean_token_accuracy"]


@pytest.mark.parametrize("model", ["llama", "qwen2", "qwen3", "mistral", "gemma", "gpt_neox"])
def test_architectures_with_uneven_lengths_and_one_token_answers(histories, case_of, uneven, model):
    assert_equal(*histories(case_of(uneven, model=model)))


def test_several_pairs_a_prompt_with_a_chosen_answer_in_common(histories, case_of, siblings):
    plain, shared = histories(case_of(siblings))
    assert_equal(plain, shared)
    assert plain[1]["loss"] != pytest.approx(plain[0]["loss"], abs=1e-3)  # the weights have moved


def test_prompts_of_equal_length_are_computed_together(histories, case_of, texts):
    assert_equal(*histories(case_of([(texts(6), texts(4), texts(4)) for _ in range(4)])))


def test_lora_with_gradient_checkpointing(histories, case_of, siblings, lora):
    config = {"lora": lora, "gradient_checkpointing": True}
    assert_equal(*histories(case_of(siblings, config=config)))


def test_gradient_checkpointing_with_accumulation(histories, case_of, siblings):
    config = {"gradient_checkpointing": True, "batch_size": 6, "micro_batch_size": 2, "epochs": 2}
    assert_equal(*histories(case_of(siblings, config=config)))


def test_losses_that_weigh_tokens(histories, case_of, siblings):
    assert_equal(*histories(case_of(siblings, loss={"name": "wpo"})))


def test_in_bfloat16_policy_and_reference_agree_before_the_first_step(histories, case_of, siblings):
    plain, shared = histories(case_of(siblings, config={"dtype": "bfloat16"}))
    assert shared[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert shared[0]["rewards/margins"] == pytest.approx(0.0, abs=1e-4)
    assert shared[1]["loss"] == pytest.approx(plain[1]["loss"], abs=3e-2)
