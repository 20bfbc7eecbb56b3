"""Draw the preference pairs that the reward model learns from: pairs of the writer's samples, labelled imperfectly.

The labels lean on the gold verifier but are wrong on purpose: some are coin flips, and some prefer whichever review
says more sentiment words. The second fault is what a policy can exploit, as it can exploit a human's taste for length.
"""

import random
from dataclasses import dataclass
from itertools import combinations

from recipes.film_reviews.gold import count_sentiment_words, grade_review, split_words
from recipes.film_reviews.grammar import Prompt
from recipes.film_reviews.lexicon import Facts
from recipes.film_reviews.tokenizer import Dialogue

_PAIRS_A_PROMPT = 3
_COIN_FLIP_CHANCE = 0.05
_ENTHUSIASM_CHANCE = 0.25  # among the other pairs


@dataclass(frozen=True)
class Preference:
    """Two answers to one prompt and which one was preferred."""

    chosen: Dialogue
    rejected: Dialogue


def draw_preferences(prompts: list[Prompt], samples: list[list[str]], rng: random.Random) -> list[Preference]:
    """Pair up the samples of each prompt at random, up to three pairs of different texts each, and label the pairs."""
    preferences = []
    for prompt, reviews in zip(prompts, samples, strict=True):
        pairs = [pair for pair in combinations(reviews, 2) if pair[0] != pair[1]]
        for first, second in rng.sample(pairs, min(_PAIRS_A_PROMPT, len(pairs))):
            first_wins = _prefers_first(first, second, prompt.facts, rng)
            chosen, rejected = (first, second) if first_wins else (second, first)
            preferences.append(Preference(Dialogue(prompt.text, chosen), Dialogue(prompt.text, rejected)))
    return preferences


def _prefers_first(first: str, second: str, facts: Facts, rng: random.Random) -> bool:
    coin, enthusiasm = rng.random() < 0.5, _count_asked_words(first, facts) - _count_asked_words(second, facts)
    quality = grade_review(first, facts).score - grade_review(second, facts).score
    if rng.random() < _COIN_FLIP_CHANCE:
        return coin
    if rng.random() < _ENTHUSIASM_CHANCE:
        quality = 0.0
    lead = quality or enthusiasm
    return lead > 0 if lead else coin


def _count_asked_words(text: str, facts: Facts) -> int:
    return count_sentiment_words(split_words(text), facts.sentiment)
