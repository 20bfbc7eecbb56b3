"""The implicit reward by two real, tiny checkpoints."""

import pytest
import torch

from flows.checkpoint_logprobs import open_checkpoint
from judging.implicit_reward import ImplicitReward
from judging.judge import Item
from judging.model_config import CheckpointConfig, ImplicitRewardConfig

QUESTION = [{"role": "user", "content": "What is two plus two?"}]
CHOSEN, REJECTED = "It is four, of course.", "The lazy dog."


@pytest.fixture(scope="module")
def moved(tiny_policy, tmp_path_factory):
    """The tiny policy after one DPO step (arXiv 2305.18290 eq. 7) from itself towards CHOSEN, away from REJECTED."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_policy)
    model = AutoModelForCausalLM.from_pretrained(tiny_policy)
    prompt = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=False)

    def logprob(text):
        answer = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        steps = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        return steps.gather(1, torch.tensor(answer)[:, None]).sum()

    margin = logprob(CHOSEN) - logprob(REJECTED)
    loss = -torch.nn.functional.logsigmoid(0.1 * (margin - margin.detach()))
    loss.backward()
    with torch.no_grad():
        for weight in model.parameters():
            weight -= 0.05 * weight.grad
    folder = tmp_path_factory.mktemp("models") / "moved"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def config(policy, reference, **fields):
    return ImplicitRewardConfig(
        kind="implicit_reward",
        policy=CheckpointConfig(model=str(policy)),
        reference=CheckpointConfig(model=str(reference)),
        **fields,
    )


def item(text, messages=QUESTION, prompt_id="p"):
    return Item(f"c-{text}", prompt_id, messages, text, None, {})


def score(config, items):
    with ImplicitReward(config, open_checkpoint) as judge:
        verdicts = dict(judge.score(enumerate(items)))
    return [verdicts[row] for row in range(len(items))]


def test_a_step_of_dpo_raises_the_reward_of_the_chosen_answer_over_the_rejected_one(moved, tiny_policy):
    chosen, rejected = score(config(moved, tiny_policy), [item(CHOSEN), item(REJECTED)])
    assert chosen.score > 0 > rejected.score


def test_the_score_is_beta_times_the_difference_of_the_aspects(moved, tiny_policy):
    items = [item(CHOSEN), item(REJECTED), item("")]
    for beta in (0.1, 2.0):
        for verdict in score(config(moved, tiny_policy, beta=beta), items):
            difference = verdict.aspects["logp_policy"] - verdict.aspects["logp_reference"]
            assert verdict.score == pytest.approx(beta * difference, abs=1e-12)
            assert verdict.aspects["logp_policy"] < 0


def test_policy_and_reference_exchanged_turn_the_sign(moved, tiny_policy):
    items = [item(CHOSEN), item(REJECTED)]
    forth, back = score(config(moved, tiny_policy), items), score(config(tiny_policy, moved), items)
    assert [v.score for v in forth] == pytest.approx([-v.score for v in back], abs=1e-6)


def test_an_answer_without_log_probs_is_unscored_and_others_are_not(moved, tiny_policy):
    long, short = score(config(moved, tiny_policy), [item("fox " * 300), item(CHOSEN)])
    assert (long.score, long.reason) == (None, "too_long")
    assert short.score is not None


def test_weights_that_give_no_number_leave_the_answer_unscored(moved, tiny_policy, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(moved)
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(moved).save_pretrained(tmp_path)
    assert score(config(tmp_path, tiny_policy), [item(CHOSEN)])[0].reason == "not_finite"


def test_checkpoints_with_different_chat_templates_are_an_error(moved, tiny_policy, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(moved).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(moved)
    tokenizer.chat_template += "\n"
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="different tokenizers or chat templates"):
        score(config(tmp_path, tiny_policy), [])


def test_bfloat16_is_near(moved, tiny_policy):
    exact = score(config(moved, tiny_policy), [item(CHOSEN)])[0]
    rounded = score(config(moved, tiny_policy, dtype="bfloat16"), [item(CHOSEN)])[0]
    assert rounded.aspects["logp_policy"] == pytest.approx(exact.aspects["logp_policy"], abs=1)
    assert rounded.aspects != exact.aspects


def test_items_are_drawn_window_by_window(moved, tiny_policy, monkeypatch):
    monkeypatch.setattr("judging.implicit_reward._WINDOW", 2)
    drawn = []

    def feed():
        for row in range(5):
            drawn.append(row)
            yield row, item(f"It is {row}.")

    with ImplicitReward(config(moved, tiny_policy), open_checkpoint) as judge:
        verdicts = judge.score(feed())
        next(verdicts)
        assert drawn == [0, 1]
        assert len(list(verdicts)) == 4


def test_no_way_to_open_checkpoints_is_an_error(moved, tiny_policy):
    with pytest.raises(ValueError, match=r"Tools\.sum_logprobs"):
        ImplicitReward(config(moved, tiny_policy), None)
