"""Train the writer: a Llama of 0.9 million parameters that writes film reviews with faults.

Supervised fine-tuning from random weights on completions only, in two stages under one learning rate curve. The first
stage shows nothing but clean opening sentences. It teaches the model to copy title and genre from the prompt; on noisy
whole reviews alone the genre stayed at chance for three epochs.
"""

import random
from dataclasses import dataclass
from statistics import fmean

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from recipes.film_reviews.batching import Track, bucket_rows, pad_right, warm_then_cosine
from recipes.film_reviews.grammar import WRITER_NOISE, Prompt, draw_noisy_review, draw_opener
from recipes.film_reviews.tokenizer import BOS_ID, EOS_ID, PAD_ID, Dialogue, Encoded, encode_dialogues

OPENER_PROMPTS = 16_000
REVIEW_PROMPTS = 20_000
WRITER_PROMPTS = OPENER_PROMPTS + REVIEW_PROMPTS

_BATCH = 16
_PEAK_RATE = 2e-3
_WARMUP_STEPS = 50
_RATE_FLOOR = 0.05
_IGNORED = -100  # label of a token without loss


@dataclass(frozen=True)
class _Step:
    """One batch and the mean number of tokens with loss that a batch of its stage has.

    The loss is divided by that mean and not by the batch's own number: rows of like length come together, and tokens
    of short reviews would weigh more, which made the writer's reviews four words too short.
    """

    rows: list[Encoded]
    mean_tokens: float


def build_writer(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return the writer with random weights, drawn from torch's global generator."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        # The usual 0.02 is small for a width of 128.
        initializer_range=0.06,
        tie_word_embeddings=True,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )
    writer = LlamaForCausalLM(config)
    writer.generation_config = GenerationConfig(eos_token_id=EOS_ID)
    return writer


def draw_lessons(prompts: list[Prompt], rng: random.Random) -> tuple[list[Dialogue], list[Dialogue]]:
    """Draw what the writer learns from: first openers, then noisy reviews, each from prompts of its own."""
    openers, reviews = prompts[:OPENER_PROMPTS], prompts[OPENER_PROMPTS:]
    return (
        [Dialogue(prompt.text, draw_opener(rng, prompt.facts)) for prompt in openers],
        [Dialogue(prompt.text, draw_noisy_review(rng, prompt.facts, WRITER_NOISE)) for prompt in reviews],
    )


def train_writer(
    tokenizer: PreTrainedTokenizerFast, prompts: list[Prompt], seed: int, track: Track
) -> LlamaForCausalLM:
    """Train a writer on `WRITER_PROMPTS` prompts, one pass, about three minutes on one core.

    Args:
        tokenizer: The world's tokenizer.
        prompts: Training prompts, each used once.
        seed: Draws the weights, the lessons and their order.
        track: Shows progress.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    writer = build_writer(tokenizer)
    steps: list[_Step] = []
    for stage in draw_lessons(prompts, rng):
        rows = encode_dialogues(tokenizer, stage)
        tokens = _BATCH * fmean(len(row.ids) - row.start for row in rows)
        batches = bucket_rows([len(row.ids) for row in rows], _BATCH, rng)
        steps += [_Step([rows[row] for row in batch], tokens) for batch in batches]
    optimizer = torch.optim.AdamW(writer.parameters(), lr=_PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_then_cosine(_WARMUP_STEPS, len(steps), _RATE_FLOOR))
    for step in track(steps, "writer"):
        ids = pad_right([row.ids for row in step.rows], PAD_ID)
        labels = pad_right([[_IGNORED] * row.start + row.ids[row.start :] for row in step.rows], _IGNORED)
        # Padding stands on the right of a causal model, so no attention mask is needed.
        loss = writer(input_ids=ids, labels=labels, use_cache=False, num_items_in_batch=step.mean_tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(writer.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return writer
