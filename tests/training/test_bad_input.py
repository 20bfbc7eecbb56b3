"""Pairs, tokenizers and settings that can't be trained on as they are: a clear error, a drop, or a note.

What build_examples refuses of single rows is in test_examples.py.
"""

import copy
import resource

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from generation.engine import PolicyFiles
from generation.render import render_prompt
from training.policies.policy import PolicyLimits, load_policy, load_tokenizer, write_policy
from training.rows.checked import count_checked
from training.rows.examples import build_examples
from training.train import train

EOS = 2
LIMITS = PolicyLimits(max_positions=256, stop_ids=frozenset({EOS}))
FOREIGN = {"chosen_tokenizer": None, "rejected_tokenizer": None, "chosen_token_ids": None, "rejected_token_ids": None}
CHATML = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + eos_token + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
MERGING = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
"""No special token, so no generation prompt either, between a prompt and its answer."""


def ignore(*_):
    """Take a step's progress."""


def values(result, name):
    return [row["value"] for row in result.metrics.to_pylist() if row["name"] == name]


def total(model, prompt_ids, token_ids):
    """An answer's log-prob sum by transformers alone."""
    ids = torch.tensor([[*prompt_ids, *token_ids]])
    with torch.no_grad():
        steps = model(ids).logits[0, :-1].double().log_softmax(-1)
    return steps.gather(1, ids[0, 1:, None])[len(prompt_ids) - 1 :].sum().item()


@pytest.fixture(scope="module")
def look(tokenizer, rendering, table_of):
    """Build the examples of rows, and count what was checked on them."""

    def run(rows, template=None, max_length=None):
        used = copy.deepcopy(tokenizer)
        used.chat_template = template or tokenizer.chat_template
        pairs = table_of(rows)
        examples = build_examples(pairs, used, rendering, LIMITS, max_length)
        return examples, count_checked(pairs, examples, [], used, LIMITS)

    return run


@pytest.fixture
def changed_policy(start, tmp_path):
    """The start policy with another tokenizer."""

    def make(change):
        folder = tmp_path / "changed"
        AutoModelForCausalLM.from_pretrained(start.model).save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(start.model)
        change(tokenizer)
        tokenizer.save_pretrained(folder)
        return PolicyFiles(model=str(folder), key="start")

    return make


def reasons(examples):
    return [(row["id"], row["reason"], row["value"], row["threshold"]) for row in examples.drops.to_pylist()]


def test_no_pairs_at_all_say_so(job, vary, pairs):
    with pytest.raises(ValueError, match="no pair to train on: the table of pairs is empty; look at the drops"):
        train(vary(job, pairs=pairs.slice(0, 0)), ignore)


@pytest.mark.slow
def test_one_pair_trains_even_with_a_larger_batch_and_micro_batch(job, vary, pairs):
    one = vary(job, {"batch_size": 8, "micro_batch_size": 4, "epochs": 2}, pairs=pairs.slice(0, 1))
    result = train(one, ignore)
    assert result.counts["pairs_trained"] == 1
    assert len(values(result, "loss")) == 1 + 2
    assert values(result, "loss")[-1] < values(result, "loss")[0]


def test_equal_answers_go_to_the_ledger(look, pair_row):
    ids = [50, 51, EOS]
    examples, checked = look([pair_row(1, chosen_token_ids=ids, rejected_token_ids=ids), pair_row(2)])
    assert reasons(examples) == [("pair1", "identical_answers", None, None)]
    assert checked.dropped == {"identical_answers": 1}


def test_other_texts_of_equal_ids_and_equal_texts_of_other_ids_are_told_apart_by_ids(look, pair_row):
    same_text = {"chosen": "the", "rejected": "the", "chosen_token_ids": [50, EOS], "rejected_token_ids": [51, EOS]}
    assert len(look([pair_row(1, **same_text)])[0].kept) == 1


def test_a_prompt_without_room_for_an_answer_has_a_reason_of_its_own(look, pair_row, tokenizer):
    messages = [{"role": "user", "content": "word " * 40}]
    n = len(render_prompt(tokenizer, messages))
    long = pair_row(1, messages=messages, prompt_hash=None)
    examples, _ = look([long, pair_row(2)], max_length=n)
    assert reasons(examples) == [("pair1", "prompt_too_long", n, n - 1)]
    assert reasons(look([long, pair_row(2)], max_length=n + 1)[0])[0][1] == "too_long"


def test_no_chat_template_says_what_to_do(job, vary, changed_policy):
    def without(tokenizer):
        tokenizer.chat_template = None

    policy = changed_policy(without)
    with pytest.raises(ValueError, match=r"changed has no chat template, .*: take an instruction-tuned model, or put"):
        train(vary(job, start=policy, reference=policy), ignore)


@pytest.mark.slow
def test_the_stop_token_is_trained_where_it_is_the_pad_token_too(job, vary, changed_policy, pairs, tokenizer):
    def pad_with_eos(tokenizer):
        tokenizer.pad_token = tokenizer.eos_token

    policy = changed_policy(pad_with_eos)
    result = train(vary(job, {"batch_size": 12}, start=policy, reference=policy), ignore)
    model, rows = load_policy(policy.model), pairs.to_pylist()
    prompts = [render_prompt(tokenizer, row["messages"]) for row in rows]
    whole, cut = (
        np.mean([total(model, p, row["chosen_token_ids"][:end]) for p, row in zip(prompts, rows, strict=True)])
        for end in (None, -1)
    )
    assert values(result, "logps/chosen")[0] == pytest.approx(whole, abs=1e-3)
    assert abs(whole - cut) > 1


def test_an_answer_is_kept_apart_from_its_prompt_where_a_text_would_merge_them(look, pair_row, tokenizer):
    messages = [{"role": "user", "content": "What is tw"}]
    prompt = pair_row(1, messages=messages, chosen="o plus two?", rejected="o.", prompt_hash=None, **FOREIGN)
    examples, checked = look([prompt], MERGING)
    [example] = examples.kept
    apart = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("What is tw", "o plus two?")]
    joint = tokenizer("What is two plus two?", add_special_tokens=False)["input_ids"]
    assert joint[: len(apart[0])] != apart[0]  # one text would share a token
    assert example.prompt_ids == [tokenizer.bos_token_id, *apart[0]]  # as the engine sees the prompt
    assert example.chosen.token_ids == [*apart[1], EOS]
    assert checked.merges == 2
    assert checked.retokenized == 2


def test_a_template_without_generation_prompt_is_noted_and_no_header_is_trained(look, pair_row, tokenizer):
    examples, checked = look([pair_row(1, chosen="four", prompt_hash=None, **FOREIGN)], MERGING)
    assert examples.kept[0].chosen.token_ids == [*tokenizer("four", add_special_tokens=False)["input_ids"], EOS]
    assert [note for note in checked.notes if "writes no generation prompt" in note]
    assert look([pair_row(1)])[1].notes == []


def test_what_a_template_writes_behind_the_stop_token_is_not_trained(look, pair_row, tokenizer):
    examples, checked = look([pair_row(1, chosen="four", prompt_hash=None, **FOREIGN)], CHATML)
    assert examples.kept[0].chosen.token_ids == [*tokenizer("four", add_special_tokens=False)["input_ids"], EOS]
    assert checked.after_stop == "\n"
    assert checked.bos_tokens == [0]


@pytest.mark.parametrize(("side", "why"), [("chosen", "none teaches the policy to stop"), ("rejected", "alone tells")])
def test_answers_of_one_side_that_were_all_cut_are_noted(look, pair_row, side, why):
    rows = [pair_row(n, **{f"{side}_token_ids": [50] * 6, f"{side}_finish_reason": "length"}) for n in range(3)]
    checked = look(rows)[1]
    assert (checked.chosen_cut, checked.rejected_cut, checked.stopped) == ((3, 0, 3) if side == "chosen" else (0, 3, 3))
    [note] = checked.notes
    assert f"all 3 {side} answers were cut by their length" in note
    assert why in note
    assert "raise generation.sampling.max_new_tokens" in note


def test_checks_are_counted(look, pair_row):
    theirs = {"chosen_tokenizer": "theirs", "rejected_tokenizer": "theirs"}
    checked = look([pair_row(1), pair_row(2, **theirs), pair_row(3, prompt_hash=None)])[1]
    assert (checked.prompts, checked.held_out_prompts, checked.bos_tokens) == (3, 0, [1])
    assert checked.prompts_compared == 1
    assert (checked.generator_ids, checked.retokenized, checked.merges) == (4, 2, 0)
    assert checked.stopped == 6


def test_a_prompt_that_is_held_out_under_another_id_raises(look, pair_row, tokenizer, table_of):
    twin = pair_row(1, pair_id="twin", prompt_id="another id")
    rows = [pair_row(1), twin]
    examples, _ = look(rows)
    with pytest.raises(ValueError, match="pair pair1: its prompt prompt1 is trained on, but a held-out pair has the"):
        count_checked(table_of(rows), examples, examples.kept[1:], tokenizer, LIMITS)


def test_a_weight_that_is_no_number_names_the_pair(look, pair_row):
    with pytest.raises(ValueError, match="pair pair1: its weight is nan; expected a number above 0"):
        look([pair_row(1, weight=float("nan"))])


def test_a_score_that_is_no_number_stops_only_a_loss_that_asks_for_it(job, vary, pair_row, table_of):
    rows = [pair_row(number, margin=float("nan"), chosen_score=float("nan")) for number in range(2)]
    broken = vary(job, {"loss": {"name": "margin_dpo"}}, pairs=table_of(rows))
    with pytest.raises(ValueError, match=r"training\.loss margin_dpo asks for margin, .* pair pair0 with nan"):
        train(broken, ignore)


@pytest.mark.slow
def test_a_score_that_is_no_number_does_not_reach_other_losses(job, vary, pair_row, table_of):
    rows = [pair_row(number, margin=float("nan"), chosen_score=float("nan")) for number in range(2)]
    assert np.isfinite(train(vary(job, pairs=table_of(rows)), ignore).metrics["value"].to_numpy()).all()


@pytest.mark.slow
def test_a_policy_that_finds_no_room_leaves_the_old_one(job, start, other, tmp_path):
    tokenizer, folder = load_tokenizer(start), tmp_path / "policy"
    write_policy(load_policy(start.model), tokenizer, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(OSError, match=r"policy: the weights can't be written .*: free some space .* is kept"):
            write_policy(load_policy(other.model), tokenizer, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_reward_model_or_weights_that_lack_some_are_no_policy(start, tmp_path):
    policy = AutoModelForCausalLM.from_pretrained(start.model)
    reward = AutoModelForSequenceClassification.from_pretrained(start.model, num_labels=1)
    reward.save_pretrained(tmp_path / "reward")
    with pytest.raises(ValueError, match="reward is a reward model, which writes no answers: give a language model"):
        load_policy(str(tmp_path / "reward"))
    weights = policy.state_dict()
    del weights["model.norm.weight"]
    AutoModelForCausalLM.from_pretrained(start.model).save_pretrained(tmp_path / "holed", state_dict=weights)
    with pytest.raises(ValueError, match=r"holed lacks weights \(model.norm.weight\), they would be random"):
        load_policy(str(tmp_path / "holed"))
