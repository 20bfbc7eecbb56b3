"""Draw prompts, clean reviews and faulty reviews of films; every draw comes from the `random.Random` handed in.

A clean review always satisfies the gold verifier. A faulty one is what the writer learns from: each fault strikes on
its own, so that the writer's samples of one prompt differ in quality and preferences have something to say.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat

from recipes.film_reviews.lexicon import (
    ADJECTIVES,
    ASPECTS,
    GENRES,
    OPPOSITE_SENTIMENT,
    OPPOSITE_WORD,
    VERBS,
    Constraint,
    Facts,
    Sentiment,
    Split,
    titles_of,
)

PHRASINGS = (
    "Write a {sentiment} review of the {genre} film {title}{extra}.",
    "Please write a {sentiment} review of {title}, a {genre} film{extra}.",
    "Give me a {sentiment} review of the {genre} film {title}{extra}.",
    "Review the {genre} film {title}. The review should be {sentiment}{extra}.",
    "I need a {sentiment} review for the {genre} film {title}{extra}.",
    "Compose a {sentiment} film review of {title}, which is a {genre}{extra}.",
)
CONSTRAINT_WEIGHTS: dict[Constraint, float] = {"none": 0.4, "two": 0.3, "aspect": 0.3}

OPENERS = (
    "{title} is a {adjective} {genre} film.",
    "{title} is one of the most {adjective} {genre} films of the year.",
    "I found {title} to be a {adjective} and {adjective} {genre}.",
    "As a {genre}, {title} is {adjective}.",
    "This {genre} film, {title}, is {adjective} from start to finish.",
    "{title} turned out to be a {adjective} {genre}.",
)
ASPECT_SENTENCES = (
    "The {aspect} is {adjective}.",
    "The {aspect} is {adjective} and the {aspect} is {adjective}.",
    "Its {aspect} feels {adjective} throughout.",
    "I {verb} the {aspect}.",
    "The {aspect} stays {adjective} until the last scene.",
    "Critics will call the {aspect} {adjective}.",
)
CLOSERS: dict[Sentiment, tuple[str, ...]] = {
    "positive": (
        "I would gladly recommend it.",
        "The whole film is a treat.",
        "In short, it is a triumph.",
        "Watching it was a joy.",
        "I {verb} every minute of it.",
    ),
    "negative": (
        "I would never recommend it.",
        "The whole film is a chore.",
        "In short, it is a failure.",
        "Watching it was a bore.",
        "I {verb} every minute of it.",
    ),
}
FILLERS = (
    "I saw it on a rainy Tuesday.",
    "My neighbour was there too.",
    "The popcorn was a little salty.",
    "We took the late bus home.",
    "The cinema was half full.",
    "There was a queue at the door.",
    "I forgot my umbrella again.",
    "The seats were blue.",
    "Tickets cost nine coins.",
    "Somebody coughed in the back row.",
)

_SENTENCES, _SENTENCE_WEIGHTS = (2, 3, 4), (0.35, 0.40, 0.25)
_CLOSER_CHANCE = 0.5
_FEWEST_WORDS_LEFT = 4


@dataclass(frozen=True)
class Prompt:
    """One request for a review, with the facts it states."""

    text: str
    facts: Facts


@dataclass(frozen=True)
class Noise:
    """How often each fault strikes a review, each a chance in [0, 1] and independent of the others.

    Attributes:
        wrong_sentiment: The whole review takes the other side.
        mixed_sentiment: One sentence takes the other side.
        wrong_title: Another training film is reviewed.
        wrong_genre: Another genre is named.
        repeated: One sentence is said two to four times.
        rambling: Three to six sentences that say nothing follow.
        cut_short: The last one to six words are missing.
        constraint_ignored: The review is written as if nothing had been asked.
    """

    wrong_sentiment: float = 0.18
    mixed_sentiment: float = 0.20
    wrong_title: float = 0.15
    wrong_genre: float = 0.12
    repeated: float = 0.15
    rambling: float = 0.15
    cut_short: float = 0.15
    constraint_ignored: float = 0.30


# About one review in four is faultless.
WRITER_NOISE = Noise()
# Each fact is wrong in a third to a half of the reviews, so that a model has to look at all of them.
BALANCED_NOISE = replace(
    WRITER_NOISE, wrong_sentiment=0.30, wrong_title=0.45, wrong_genre=0.40, constraint_ignored=0.45
)


def draw_prompts(rng: random.Random, split: Split, count: int) -> list[Prompt]:
    """Draw prompts about the titles of one split, no text twice.

    The constraint is drawn first and kept while a text that is already taken is drawn again; otherwise the kinds with
    few texts would grow rare towards the end of a long draw.
    """
    kinds, weights = tuple(CONSTRAINT_WEIGHTS), tuple(CONSTRAINT_WEIGHTS.values())
    prompts: dict[str, Prompt] = {}
    for constraint in rng.choices(kinds, weights, k=count):
        prompt = _draw_prompt(rng, split, constraint)
        while prompt.text in prompts:
            prompt = _draw_prompt(rng, split, constraint)
        prompts[prompt.text] = prompt
    return list(prompts.values())


def phrase_prompts(facts: Facts) -> list[str]:
    """Return every way in which the grammar asks for a review with these facts."""
    extra = {"none": "", "two": " in two sentences", "aspect": f" and mention the {facts.aspect}"}[facts.constraint]
    return [
        phrasing.format(sentiment=facts.sentiment, genre=facts.genre, title=facts.title, extra=extra)
        for phrasing in PHRASINGS
    ]


def draw_opener(rng: random.Random, facts: Facts) -> str:
    """Draw one clean opening sentence: it names the title and the genre and takes the asked side."""
    return _fill(rng.choice(OPENERS), _draw_words(rng, facts))


def draw_review(rng: random.Random, facts: Facts) -> list[str]:
    """Draw the two to four sentences of a review that does all that the facts ask for."""
    words = _draw_words(rng, facts)
    count = 2 if facts.constraint == "two" else rng.choices(_SENTENCES, _SENTENCE_WEIGHTS)[0]
    closing = rng.random() < _CLOSER_CHANCE and not (count == 2 and facts.constraint == "aspect")
    templates = [rng.choice(OPENERS), *rng.sample(ASPECT_SENTENCES, count - 1 - closing)]
    if closing:
        templates.append(rng.choice(CLOSERS[facts.sentiment]))
    return [_fill(template, words) for template in templates]


def draw_noisy_review(rng: random.Random, facts: Facts, noise: Noise) -> str:
    """Draw the text of a review in which each fault strikes with its chance."""
    sentences = draw_review(rng, _misread(rng, facts, noise))
    if rng.random() < noise.mixed_sentiment:
        place = rng.randrange(len(sentences))
        sentences[place] = flip_sentiment(sentences[place])
    if rng.random() < noise.repeated:
        place = rng.randrange(len(sentences))
        sentences[place:place] = [sentences[place]] * rng.choice((1, 1, 2, 3))
    if rng.random() < noise.rambling:
        sentences += rng.sample(FILLERS, rng.randint(3, 6))
    text = " ".join(sentences)
    return _cut_short(rng, text) if rng.random() < noise.cut_short else text


def flip_sentiment(text: str) -> str:
    """Replace every sentiment word by its opposite."""
    return re.sub(r"[a-z]+", lambda word: OPPOSITE_WORD.get(word[0], word[0]), text)


def _draw_prompt(rng: random.Random, split: Split, constraint: Constraint) -> Prompt:
    facts = Facts(
        title=rng.choice(titles_of(split)),
        genre=rng.choice(GENRES),
        sentiment=rng.choice(("positive", "negative")),
        constraint=constraint,
        aspect=rng.choice(ASPECTS) if constraint == "aspect" else None,
    )
    return Prompt(rng.choice(phrase_prompts(facts)), facts)


def _draw_words(rng: random.Random, facts: Facts) -> dict[str, Iterator[str]]:
    """Return what fills each slot of a template, in order; no adjective, verb or aspect comes twice in a review."""
    aspects = rng.sample(ASPECTS, len(ASPECTS))
    if facts.aspect is not None:
        aspects.remove(facts.aspect)
        aspects.insert(0, facts.aspect)
    adjectives, verbs = ADJECTIVES[facts.sentiment], VERBS[facts.sentiment]
    return {
        "title": repeat(facts.title),
        "genre": repeat(facts.genre),
        "aspect": iter(aspects),
        "adjective": iter(rng.sample(adjectives, len(adjectives))),
        "verb": iter(rng.sample(verbs, len(verbs))),
    }


def _fill(template: str, words: dict[str, Iterator[str]]) -> str:
    return re.sub(r"\{(\w+)\}", lambda slot: next(words[slot[1]]), template)


def _misread(rng: random.Random, facts: Facts, noise: Noise) -> Facts:
    """Return the facts as a careless writer understands them."""
    if rng.random() < noise.constraint_ignored:
        facts = replace(facts, constraint="none", aspect=None)
    if rng.random() < noise.wrong_sentiment:
        facts = replace(facts, sentiment=OPPOSITE_SENTIMENT[facts.sentiment])
    if rng.random() < noise.wrong_title:
        facts = replace(facts, title=rng.choice([title for title in titles_of("train") if title != facts.title]))
    if rng.random() < noise.wrong_genre:
        facts = replace(facts, genre=rng.choice([genre for genre in GENRES if genre != facts.genre]))
    return facts


def _cut_short(rng: random.Random, text: str) -> str:
    words = text.split()
    left = max(_FEWEST_WORDS_LEFT, len(words) - rng.randint(1, 6))
    return " ".join(words[:left]).rstrip(".,")
