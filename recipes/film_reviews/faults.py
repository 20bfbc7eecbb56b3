"""Find where a review goes against its prompt, word by word, as dense labels for the reward model's warm-up."""

import math
import re
from dataclasses import dataclass

from recipes.film_reviews.gold import grade_review
from recipes.film_reviews.lexicon import (
    GENRES,
    OPPOSITE_SENTIMENT,
    SENTIMENT_WORDS,
    TITLE_ADJECTIVES,
    TITLE_NOUNS,
    Facts,
)

_TITLE_WORDS = frozenset(TITLE_ADJECTIVES + TITLE_NOUNS)


@dataclass(frozen=True)
class Faults:
    """Faults of one review.

    Attributes:
        appears_at: Where the first word of another sentiment, title and genre than asked for ends, in characters,
            in this order; infinite if there is none.
        constraint_neglected: Whether the whole text fails what was asked for on top.
    """

    appears_at: tuple[float, float, float]
    constraint_neglected: bool


def find_faults(text: str, facts: Facts) -> Faults:
    """Find the faults of one review."""
    sentiment = set(SENTIMENT_WORDS[OPPOSITE_SENTIMENT[facts.sentiment]])
    title = _TITLE_WORDS.difference(facts.title.split())
    genre = set(GENRES) - {facts.genre}
    return Faults(
        appears_at=(_first_end(text, sentiment), _first_end(text, title), _first_end(text, genre)),
        constraint_neglected=grade_review(text, facts).constraint < 1.0,
    )


def _first_end(text: str, wrong: set[str] | frozenset[str]) -> float:
    return next((word.end() for word in re.finditer(r"[A-Za-z]+", text) if word[0] in wrong), math.inf)
