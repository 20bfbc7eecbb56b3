"""Measure the film world's models on prompts about films that no model was trained on."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import torch
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerFast

from recipes.film_reviews.gold import grade_review
from recipes.film_reviews.grammar import ASPECT_SENTENCES, FILLERS, Prompt, draw_review
from recipes.film_reviews.lexicon import ADJECTIVES, ASPECTS, Facts
from recipes.film_reviews.reward_model import score_rows
from recipes.film_reviews.tokenizer import Dialogue, encode_dialogues

_ROWS_AT_ONCE = 128


@dataclass(frozen=True)
class WriterFigures:
    """How well the writer does at one temperature.

    Attributes:
        pass_rate: Share of the samples that pass the gold verifier.
        best_pass_rate: Share of the prompts with at least one such sample.
        score: Mean gold score, in [0, 1].
        words: Mean number of words of a sample.
    """

    pass_rate: float
    best_pass_rate: float
    score: float
    words: float


def measure_writer(prompts: list[Prompt], samples: list[list[str]]) -> WriterFigures:
    """Grade the samples of each prompt."""
    grades = [
        [grade_review(review, prompt.facts) for review in reviews]
        for prompt, reviews in zip(prompts, samples, strict=True)
    ]
    flat = [grade for row in grades for grade in row]
    return WriterFigures(
        pass_rate=fmean(grade.passed for grade in flat),
        best_pass_rate=fmean(any(grade.passed for grade in row) for row in grades),
        score=fmean(grade.score for grade in flat),
        words=fmean(len(review.split()) for reviews in samples for review in reviews),
    )


def measure_pair_accuracy(
    model: LlamaForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[Prompt],
    samples: list[list[str]],
) -> float:
    """Return how often the model prefers, of two samples of a prompt, the one with the higher gold score.

    The first sample is compared with the second, the third with the fourth and so on; pairs of equal gold score are
    left out.
    """
    rows = [(prompt, review) for prompt, reviews in zip(prompts, samples, strict=True) for review in reviews]
    rewards = score_reviews_by_model(model, tokenizer, [Dialogue(prompt.text, review) for prompt, review in rows])
    golds = [grade_review(review, prompt.facts).score for prompt, review in rows]
    pairs = [(golds[i] - golds[i + 1], rewards[i] - rewards[i + 1]) for i in range(0, len(rows), 2)]
    return fmean(gold * reward > 0 for gold, reward in pairs if gold != 0)


def probe_reward_model(
    model: LlamaForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[Prompt],
    rng: random.Random,
) -> dict[str, float]:
    """Return the mean reward of clean reviews and of the same reviews with one thing done to them."""
    clean = [draw_review(rng, prompt.facts) for prompt in prompts]
    changes: dict[str, Callable[[list[str], Facts], list[str]]] = {
        "clean": lambda sentences, _: sentences,
        "last sentence said twice": lambda sentences, _: [*sentences, sentences[-1]],
        "two more sentences of praise or blame": lambda sentences, facts: [
            *sentences,
            *(_draw_aspect_sentence(rng, facts) for _ in range(2)),
        ],
        "three sentences beside the point": lambda sentences, _: sentences + rng.sample(FILLERS, 3),
        "last two words cut": lambda sentences, _: " ".join(sentences).split()[:-2],
    }
    means = {}
    for name, change in changes.items():
        reviews = [" ".join(change(row, prompt.facts)) for row, prompt in zip(clean, prompts, strict=True)]
        dialogues = [Dialogue(prompt.text, review) for prompt, review in zip(prompts, reviews, strict=True)]
        means[name] = fmean(score_reviews_by_model(model, tokenizer, dialogues))
    return means


@torch.inference_mode()
def score_reviews_by_model(
    model: LlamaForSequenceClassification, tokenizer: PreTrainedTokenizerFast, dialogues: list[Dialogue]
) -> list[float]:
    """Return the reward of each dialogue."""
    rows = encode_dialogues(tokenizer, dialogues)
    parts = [score_rows(model, rows[start : start + _ROWS_AT_ONCE]) for start in range(0, len(rows), _ROWS_AT_ONCE)]
    return torch.cat(parts).tolist()


def _draw_aspect_sentence(rng: random.Random, facts: Facts) -> str:
    return ASPECT_SENTENCES[0].format(aspect=rng.choice(ASPECTS), adjective=rng.choice(ADJECTIVES[facts.sentiment]))
