"""Every word that prompts and reviews of the film world are made of, and the split of its titles.

The words are few on purpose: a model of one million parameters can learn all of them, and a verifier can know all of
them. A word that carries sentiment, genre or aspect stands on one list only, so that seeing it says what it means.
"""

import random
from dataclasses import dataclass
from functools import cache
from typing import Literal

Sentiment = Literal["positive", "negative"]
Constraint = Literal["none", "two", "aspect"]
Split = Literal["train", "eval", "vault"]


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


TITLE_ADJECTIVES = _split(
    "Silent Golden Broken Distant Hidden Crimson Frozen Gentle Hollow Little Lonely Midnight Paper Quiet Rusty Scarlet "
    "Secret Silver Stolen Velvet Wandering Winter Burning Forgotten"
)
TITLE_NOUNS = _split(
    "River Garden Mirror Harbor Lantern Orchard Bridge Castle Compass Desert Engine Feather Island Journey Kingdom "
    "Letter Mountain Painter Sailor Shadow Station Tower Valley Window"
)
GENRES = _split("drama comedy thriller western horror romance mystery fantasy")
ASPECTS = _split("acting script music pacing photography ending dialogue direction")

ADJECTIVES: dict[Sentiment, tuple[str, ...]] = {
    "positive": _split(
        "wonderful brilliant moving charming superb delightful gripping tender clever polished vivid warm witty "
        "graceful stunning memorable"
    ),
    "negative": _split(
        "dull clumsy tedious weak bland shallow tiresome messy careless dreary flat stale noisy lifeless predictable "
        "forgettable"
    ),
}
VERBS: dict[Sentiment, tuple[str, ...]] = {
    "positive": ("loved", "enjoyed", "admired", "treasured"),
    "negative": ("hated", "regretted", "disliked", "endured"),
}
# The words by which a closing sentence shows its side.
MARKS: dict[Sentiment, tuple[str, ...]] = {
    "positive": ("gladly", "treat", "triumph", "joy"),
    "negative": ("never", "chore", "failure", "bore"),
}
SENTIMENT_WORDS: dict[Sentiment, tuple[str, ...]] = {
    "positive": ADJECTIVES["positive"] + VERBS["positive"] + MARKS["positive"],
    "negative": ADJECTIVES["negative"] + VERBS["negative"] + MARKS["negative"],
}
OPPOSITE_SENTIMENT: dict[Sentiment, Sentiment] = {"positive": "negative", "negative": "positive"}
# Word for word, the same thing said from the other side.
OPPOSITE_WORD = dict(
    zip(
        SENTIMENT_WORDS["positive"] + SENTIMENT_WORDS["negative"],
        SENTIMENT_WORDS["negative"] + SENTIMENT_WORDS["positive"],
        strict=True,
    )
)

_HELD_OUT_TITLES = 64  # in each of the eval and the vault split
_SPLIT_SEED = 7


@dataclass(frozen=True)
class Facts:
    """What one prompt asks for.

    Attributes:
        title: The film, such as "The Silent River".
        genre: One of `GENRES`.
        sentiment: The side the review has to take.
        constraint: "two" wants exactly two sentences, "aspect" wants `aspect` mentioned.
        aspect: One of `ASPECTS`; None unless the constraint is "aspect".
    """

    title: str
    genre: str
    sentiment: Sentiment
    constraint: Constraint
    aspect: str | None


@cache
def titles_of(split: Split) -> tuple[str, ...]:
    """Return the titles of one split: 448 for train, 64 each for eval and vault, none in two of them.

    The split is by title, so that no held-out film was ever seen in training, and is the same whatever a run's seed.
    """
    titles = [f"The {adjective} {noun}" for adjective in TITLE_ADJECTIVES for noun in TITLE_NOUNS]
    random.Random(_SPLIT_SEED).shuffle(titles)
    bounds = {
        "eval": (0, _HELD_OUT_TITLES),
        "vault": (_HELD_OUT_TITLES, 2 * _HELD_OUT_TITLES),
        "train": (2 * _HELD_OUT_TITLES, len(titles)),
    }
    first, end = bounds[split]
    return tuple(titles[first:end])
