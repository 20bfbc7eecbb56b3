"""The tokenizer of the film world and how a dialogue becomes token ids.

Byte-level BPE trained on reviews drawn from the grammar; every word of the lexicon is one token. A dialogue is rendered
as `<|bos|><|user|>prompt<|assistant|>review<|eos|>`; there is no place for a system message, so the template refuses
one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = PAD, BOS, EOS, USER, ASSISTANT = "<|pad|>", "<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>"
PAD_ID, BOS_ID, EOS_ID, USER_ID, ASSISTANT_ID = range(len(SPECIAL_TOKENS))

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '<|user|>' + m['content'] }}"
    "{% elif m['role'] == 'assistant' %}{{ '<|assistant|>' }}"
    "{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ raise_exception('only user and assistant messages are known, got ' + m['role']) }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

_VOCABULARY_LIMIT = 1024  # the merges run out before
_MAX_TOKENS = 192


@dataclass(frozen=True)
class Dialogue:
    """A prompt and its answer."""

    prompt: str
    review: str


@dataclass(frozen=True)
class Encoded:
    """Token ids of one whole dialogue.

    Attributes:
        ids: From the first special token to the one that ends the review.
        ends: For each token, where it ends in `Dialogue.review`, in characters; at most 0 within the prompt.
        start: Index of the review's first token.
    """

    ids: list[int]
    ends: list[int]
    start: int


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train the tokenizer on plain texts, prompts and reviews alike."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY_LIMIT,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        extra_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=_MAX_TOKENS,
        clean_up_tokenization_spaces=False,
    )


def encode_dialogues(tokenizer: PreTrainedTokenizerFast, dialogues: Sequence[Dialogue]) -> list[Encoded]:
    """Render dialogues with the chat template and turn them into token ids."""
    conversations = [
        [{"role": "user", "content": dialogue.prompt}, {"role": "assistant", "content": dialogue.review}]
        for dialogue in dialogues
    ]
    texts = cast("list[str]", tokenizer.apply_chat_template(conversations, tokenize=False))
    batch = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    encoded = []
    for ids, offsets in zip(batch["input_ids"], batch["offset_mapping"], strict=True):
        start = ids.index(ASSISTANT_ID) + 1
        first = offsets[start - 1][1]
        encoded.append(Encoded(ids, [end - first for _, end in offsets], start))
    return encoded
