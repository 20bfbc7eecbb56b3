"""Sample reviews from the writer with transformers, in batches of prompts."""

from typing import cast

import torch
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from recipes.film_reviews.batching import Track
from recipes.film_reviews.tokenizer import EOS_ID, PAD_ID

MAX_NEW_TOKENS = 96

_PROMPTS_AT_ONCE = 64


@torch.inference_mode()
def sample_reviews(
    writer: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[str],
    samples: int,
    temperature: float,
    track: Track,
) -> list[list[str]]:
    """Return `samples` reviews of each prompt, drawn from torch's global generator."""
    settings = GenerationConfig(
        do_sample=True,
        temperature=temperature,
        top_k=0,
        max_new_tokens=MAX_NEW_TOKENS,
        num_return_sequences=samples,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )
    reviews: list[list[str]] = []
    batches = [list(range(start, start + _PROMPTS_AT_ONCE)) for start in range(0, len(prompts), _PROMPTS_AT_ONCE)]
    for batch in track(batches, f"sampling at temperature {temperature}"):
        conversations = [[{"role": "user", "content": prompts[row]}] for row in batch if row < len(prompts)]
        rendered = cast(
            "list[str]", tokenizer.apply_chat_template(conversations, add_generation_prompt=True, tokenize=False)
        )
        inputs = tokenizer(rendered, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt")
        output = writer.generate(**inputs, generation_config=settings)  # pyright: ignore[reportAttributeAccessIssue]
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        reviews += [texts[first : first + samples] for first in range(0, len(texts), samples)]
    return reviews
