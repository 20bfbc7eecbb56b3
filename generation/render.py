"""One rendering of conversations into token ids, for engines and trainers alike, and the tokenizer's identity."""

import hashlib
import json
from typing import TYPE_CHECKING, cast

from jinja2 import TemplateError

from generation.engine import PolicyFiles

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from transformers.tokenization_utils_tokenizers import TokenizersBackend


class RenderError(ValueError):
    """The chat template cannot render one conversation."""


def load_tokenizer(policy: PolicyFiles) -> "PreTrainedTokenizerBase":
    """Load a policy's tokenizer.

    Raises:
        ValueError: It has no `tokenizer.json` (its identity would be unknown) or no chat template.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        policy.model, revision=policy.revision, trust_remote_code=policy.trust_remote_code
    )
    if not tokenizer.is_fast:
        raise ValueError(f"{policy.model} has no tokenizer.json: save its tokenizer with a fast version of itself")
    if not tokenizer.chat_template:
        raise ValueError(
            f"{policy.model} has no chat template: take an instruction-tuned model, or put a chat_template.jinja "
            "into its folder"
        )
    return tokenizer


def render_prompt(tokenizer: "PreTrainedTokenizerBase", messages: list[dict[str, str]]) -> list[int]:
    """Render a conversation up to where the answer begins.

    BOS stands where the template writes it; the tokenizer adds none.

    Raises:
        RenderError: The template refuses the conversation, or two BOS tokens open it.
    """
    try:
        text = cast(str, tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:
        raise RenderError(f"the chat template refuses a conversation: {error}") from error
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    if ids[:2] == [tokenizer.bos_token_id] * 2:
        raise RenderError("the chat template opens a conversation with two BOS tokens: write one bos_token in it")
    return ids


def tokenizer_identity(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Hash vocabulary, merges, BOS, EOS and chat template: what decides which ids a conversation gets.

    Padding and truncation stay out, since a call of the tokenizer changes them, and so does the pad token, which
    trainers set.
    """
    backend = json.loads(cast("TokenizersBackend", tokenizer).backend_tokenizer.to_str())
    del backend["padding"], backend["truncation"]
    parts = [backend, tokenizer.bos_token, tokenizer.eos_token, tokenizer.chat_template]
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=12).hexdigest()
