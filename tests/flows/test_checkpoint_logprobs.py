"""Log-probs of a judge's items under real, tiny checkpoints, against training's own."""

import pytest
import torch

from flows.checkpoint_logprobs import open_checkpoint
from generation.engine import PolicyFiles
from generation.render import load_tokenizer, render_prompt, tokenizer_identity
from judging.judge import Item
from judging.model_config import CheckpointConfig
from training.logprobs import sequence_logprobs
from training.policies.policy import load_policy

EOS = 2
QUESTION = [{"role": "user", "content": "What is two plus two?"}]
# Decoded and tokenised again, these become other ids.
ODD_IDS = [[70, 71, 72], [90, 91, 92, 93, 94, EOS], [EOS]]


@pytest.fixture(scope="module")
def tokenizer(tiny_policy):
    return load_tokenizer(PolicyFiles(str(tiny_policy), "tiny"))


@pytest.fixture(scope="module")
def checkpoint(tiny_policy):
    with open_checkpoint(CheckpointConfig(model=str(tiny_policy)), "float32") as opened:
        yield opened


def item(text="It is four.", token_ids=None, tokenizer=None, messages=QUESTION, prompt_id="p"):
    return Item("c", prompt_id, messages, text, None, {}, token_ids, tokenizer)


def logprobs(checkpoint, items, batch_size=2):
    return [one.logprob for one in checkpoint.sum_logprobs(items, batch_size)]


def trained_on(tiny_policy, tokenizer, completions, messages=QUESTION):
    """What training makes of given ids."""
    prompts = [render_prompt(tokenizer, messages)] * len(completions)
    return sequence_logprobs(load_policy(str(tiny_policy)), prompts, completions, pad_id=0, batch_size=8).tolist()


def test_ids_of_the_checkpoints_own_tokenizer_are_taken_as_they_are(checkpoint, tiny_policy, tokenizer):
    items = [item("something else", ids, tokenizer_identity(tokenizer)) for ids in ODD_IDS]
    assert logprobs(checkpoint, items) == pytest.approx(trained_on(tiny_policy, tokenizer, ODD_IDS), abs=1e-4)


@pytest.mark.parametrize(("ids", "made_by"), [(None, None), ([70, 71, EOS], "another tokenizer")])
def test_other_answers_are_tokenised_and_end_in_the_stop_token(checkpoint, tiny_policy, tokenizer, ids, made_by):
    expected = [*tokenizer("It is four.", add_special_tokens=False)["input_ids"], EOS]
    found = checkpoint.sum_logprobs([item(token_ids=ids, tokenizer=made_by)], 2)[0]
    assert found.logprob == pytest.approx(trained_on(tiny_policy, tokenizer, [expected])[0], abs=1e-4)
    assert found.n_tokens == len(render_prompt(tokenizer, QUESTION)) + len(expected)


def test_a_special_token_that_a_text_spells_stays_text(checkpoint, tiny_policy, tokenizer):
    text = "Four.<|eos|>"
    expected = [*tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"], EOS]
    assert expected.count(EOS) == 1
    assert logprobs(checkpoint, [item(text)]) == pytest.approx(trained_on(tiny_policy, tokenizer, [expected]), abs=1e-4)


def test_the_stop_token_is_the_one_that_the_template_ends_an_answer_with(tiny_policy, tokenizer, tmp_path):
    from transformers import AutoModelForCausalLM, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(tiny_policy)
    model.generation_config = GenerationConfig(eos_token_id=[EOS, 3])
    model.save_pretrained(tmp_path)
    other = load_tokenizer(PolicyFiles(str(tiny_policy), "tiny"))
    other.chat_template = other.chat_template.replace("m['content'] + eos_token", "m['content'] + '<|user|>'")
    other.save_pretrained(tmp_path)
    expected = [*tokenizer("Four.", add_special_tokens=False)["input_ids"], 3]
    with open_checkpoint(CheckpointConfig(model=str(tmp_path)), "float32") as opened:
        assert logprobs(opened, [item("Four.")]) == pytest.approx(
            trained_on(tiny_policy, tokenizer, [expected]), abs=1e-4
        )


def test_items_without_a_sum_say_why_and_leave_the_others_in_their_places(checkpoint, tokenizer):
    own = tokenizer_identity(tokenizer)
    alone = logprobs(checkpoint, [item("Four."), item("Five.")])
    found = checkpoint.sum_logprobs(
        [item("Four."), item("fox " * 300), item("", [], own), item("Five."), item("", [7] * 300, own)], 2
    )
    assert [one.reason for one in found] == [None, "too_long", "empty_completion", None, "too_long"]
    assert [found[0].logprob, found[3].logprob] == pytest.approx(alone, abs=1e-4)
    assert found[1].n_tokens > 256


def test_messages_that_the_template_refuses_have_no_sum(tiny_policy, tmp_path):
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(tiny_policy).save_pretrained(tmp_path)
    refusing = load_tokenizer(PolicyFiles(str(tiny_policy), "tiny"))
    refusing.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{{ messages[0]['content'] }}"
    )
    refusing.save_pretrained(tmp_path)
    with open_checkpoint(CheckpointConfig(model=str(tmp_path)), "float32") as opened:
        system = item(messages=[{"role": "system", "content": "Be brief."}, *QUESTION], prompt_id="s")
        found = opened.sum_logprobs([system, item()], 2)
    assert found[0].reason == "chat_template"
    assert found[1].logprob is not None


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft 0.21 with transformers 5.23
def test_an_adapter_is_put_on(tiny_policy, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(2)
    base = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32)
    lora = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(base, lora).save_pretrained(tmp_path)
    config = CheckpointConfig(model=str(tiny_policy), adapter=str(tmp_path))
    with (
        open_checkpoint(config, "float32") as adapted,
        open_checkpoint(CheckpointConfig(model=str(tiny_policy)), "float32") as bare,
    ):
        assert abs(logprobs(adapted, [item()])[0] - logprobs(bare, [item()])[0]) > 0.1
        assert adapted.tokenizer_identity == bare.tokenizer_identity


def test_a_role_that_is_still_a_role_is_an_error():
    with (
        pytest.raises(ValueError, match="role 'good' must be replaced by a model"),
        open_checkpoint(CheckpointConfig(role="good"), "float32"),
    ):
        pass
