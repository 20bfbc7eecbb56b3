"""Rendering conversations and telling tokenizers apart."""

import shutil
from pathlib import Path

import pytest

from generation.engine import PolicyFiles
from generation.render import RenderError, load_tokenizer, render_prompt, tokenizer_identity

QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is two plus two?"}]


@pytest.fixture
def tokenizer(tiny_policy: Path):
    return load_tokenizer(PolicyFiles(str(tiny_policy), "tiny"))


def test_a_conversation_is_rendered_as_the_library_does_with_one_bos(tokenizer):
    ids = render_prompt(tokenizer, QUESTION)
    assert ids == tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True)["input_ids"]
    assert tokenizer.decode(ids) == "<|bos|><|system|>Be brief.<|user|>What is two plus two?<|assistant|>"
    assert ids.count(tokenizer.bos_token_id) == 1


def test_two_bos_tokens_are_refused(tokenizer):
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    with pytest.raises(RenderError, match="two BOS tokens"):
        render_prompt(tokenizer, QUESTION)


def test_a_conversation_that_the_template_refuses_is_an_error_of_its_own(tokenizer):
    tokenizer.chat_template = "{{ raise_exception('No system role') }}"
    with pytest.raises(RenderError, match="refuses a conversation: No system role"):
        render_prompt(tokenizer, QUESTION)


def test_a_model_without_a_chat_template_is_refused(tiny_policy, tmp_path):
    shutil.copytree(tiny_policy, tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="has no chat template: take an instruction-tuned model"):
        load_tokenizer(PolicyFiles(str(tmp_path / "base"), "base"))


def test_identity_survives_saving_padding_and_a_pad_token(tokenizer, tmp_path):
    before = tokenizer_identity(tokenizer)
    tokenizer(["a", "b c"], padding=True, truncation=True, max_length=8)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer_identity(tokenizer) == before
    assert tokenizer_identity(load_tokenizer(PolicyFiles(str(tmp_path), "copy"))) == before


def test_identity_changes_with_template_stop_token_and_vocabulary(tokenizer):
    identities = {tokenizer_identity(tokenizer)}
    template = tokenizer.chat_template
    tokenizer.chat_template = template + " "
    identities.add(tokenizer_identity(tokenizer))
    tokenizer.chat_template = template
    tokenizer.eos_token = "<|user|>"
    identities.add(tokenizer_identity(tokenizer))
    tokenizer.eos_token = "<|eos|>"
    tokenizer.add_tokens(["fox"])
    identities.add(tokenizer_identity(tokenizer))
    assert len(identities) == 4
