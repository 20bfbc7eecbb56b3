"""The token contract: where BOS and stop tokens may stand."""

import pytest

from training.rows.contract import check_completion, check_prompt, check_prompt_hash

BOS, EOS, TURN_END = 1, 2, 9
STOPS = frozenset({EOS, TURN_END})


def test_one_bos_passes():
    check_prompt("p", [BOS, 5, 6], BOS, n_bos=1)


def test_a_template_that_writes_bos_for_each_turn_passes():
    check_prompt("p", [BOS, 5, 6, BOS, 7], BOS, n_bos=2)


def test_a_tokenizer_without_bos_passes():
    check_prompt("p", [BOS, BOS, 5], None, n_bos=0)


def test_double_bos_raises():
    with pytest.raises(ValueError, match=r"pair p: its prompt opens with two BOS tokens \(1\); expected at most one"):
        check_prompt("p", [BOS, BOS, 5], BOS, n_bos=2)


def test_a_bos_that_the_template_does_not_write_raises():
    with pytest.raises(ValueError, match=r"pair p: its prompt has 1 BOS tokens \(1\); expected 0"):
        check_prompt("p", [BOS, 5], BOS, n_bos=0)


def test_an_empty_prompt_raises():
    with pytest.raises(ValueError, match="pair p: the chat template renders its prompt as nothing"):
        check_prompt("p", [], None, n_bos=0)


@pytest.mark.parametrize(
    ("ids", "finish_reason"),
    [
        ([5, 6, EOS], "stop"),
        ([5, TURN_END], "stop"),
        ([5, 6], "length"),
        ([5, 6], None),
        ([5, EOS], None),
    ],
)
def test_answers_that_keep_the_contract_pass(ids, finish_reason):
    check_completion("p", "chosen", ids, finish_reason, STOPS)


@pytest.mark.parametrize(
    ("ids", "finish_reason", "expected"),
    [
        ([5, EOS, EOS], "stop", "exactly one, at the end of a finished answer"),
        ([5, TURN_END, EOS], "stop", "exactly one, at the end of a finished answer"),
        ([5, EOS, 6], "stop", "exactly one, at the end of a finished answer"),
        ([5, 6], "stop", "exactly one, at the end of a finished answer"),
        ([5, EOS], "length", "none in an answer cut by its length"),
        ([EOS, 5], None, "at most one, at the end"),
        ([5, EOS, EOS], None, "at most one, at the end"),
    ],
)
def test_misplaced_stop_tokens_raise(ids, finish_reason, expected):
    with pytest.raises(ValueError, match=f"pair p: its rejected answer.*expected {expected}"):
        check_completion("p", "rejected", ids, finish_reason, STOPS)


def test_another_prompt_than_the_generators_raises():
    check_prompt_hash("p", "abc", "abc")
    with pytest.raises(ValueError, match="pair p: its prompt renders to other token ids here"):
        check_prompt_hash("p", "abc", "abd")
