"""Prompts and answers as a reward model reads them: items in, token ids or the reason for having none out.

One rendering for every engine: the chat template writes the special tokens, BOS among them, and nothing adds a second.
"""

# The tokenizers of transformers are chosen at run time and have no static types.

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from judging.judge import Item, Tag
from judging.model_config import RewardModelConfig

Refusal = Literal["chat_template", "special_token"]


def load_tokenizer(config: RewardModelConfig) -> Any:
    """Load a reward model's tokenizer.

    Raises:
        ValueError: It has no chat template.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        config.model, revision=config.revision, trust_remote_code=config.trust_remote_code
    )
    if tokenizer.chat_template is None:
        raise ValueError(
            f"model {config.model!r} has a tokenizer without a chat template, so prompt and answer cannot be laid out "
            "as it was trained on: use a reward model that ships one"
        )
    return tokenizer


def tokenize_items(tokenizer: Any, window: Sequence[tuple[Tag, Item]]) -> Iterator[tuple[Tag, list[int] | Refusal]]:
    """Yield each item's token ids, or the reason for having none, refused items first.

    The reason is `special_token` where the answer spells one, which would let it end its turn and write the next one
    itself, and `chat_template` where the template refuses the messages (such as one without a system role) or writes
    nothing at all.
    """
    special_tokens = tokenizer.all_special_tokens
    rendered: list[tuple[Tag, str]] = []
    for tag, item in window:
        text = _render(tokenizer, item)
        if not text:
            yield tag, "chat_template"
        elif any(token in item.text for token in special_tokens):
            yield tag, "special_token"
        else:
            rendered.append((tag, text))
    if rendered:
        ids = tokenizer([text for _, text in rendered], add_special_tokens=False)["input_ids"]
        yield from zip((tag for tag, _ in rendered), ids, strict=True)


def _render(tokenizer: Any, item: Item) -> str | None:
    """Write the conversation as the model was trained to read it; None if the template refuses it."""
    from jinja2 import TemplateError

    try:
        conversation = [*item.messages, {"role": "assistant", "content": item.text}]
        return tokenizer.apply_chat_template(conversation, tokenize=False)
    except TemplateError:
        return None
