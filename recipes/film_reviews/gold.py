"""The gold verifier: grade a review against what its prompt asked for, from the text and the facts alone.

No model takes part, so training against a model's opinion cannot move it. A review is graded on six points, each in
[0, 1]; its score is their mean and it passes when all six are full.
"""

import re
from collections import Counter
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import cast

from recipes.film_reviews.lexicon import (
    GENRES,
    OPPOSITE_SENTIMENT,
    SENTIMENT_WORDS,
    TITLE_ADJECTIVES,
    TITLE_NOUNS,
    Constraint,
    Facts,
    Sentiment,
)

_WORD = re.compile(r"[A-Za-z']+")
_SENTENCE_BREAK = re.compile(r"(?<=[.!?])\s+")
_TITLE = re.compile(rf"\bThe (?:{'|'.join(TITLE_ADJECTIVES)}) (?:{'|'.join(TITLE_NOUNS)})\b")

_SENTIMENT_WORDS_WANTED = 2
_WORDS_ALLOWED = range(8, 46)
_SENTENCES_ALLOWED = range(2, 5)
_FEWEST_WORDS_IN_SENTENCE = 3
_REPEAT_SPAN = 4  # words


@dataclass(frozen=True)
class Grade:
    """The six points of one review, each in [0, 1].

    Attributes:
        sentiment: Share of the sentiment words on the asked side; halved when there is only one of them.
        title: 1 if the asked title is named alone, 0.5 if beside another one, 0 if it is missing.
        genre: The same for the asked genre.
        constraint: 1 if what was asked for on top was done, else 0.
        form: Half for whole sentences, half for a length of 8 to 45 words in 2 to 4 sentences.
        no_repetition: 1 without repeated words or phrases, less the more of the text repeats.
    """

    sentiment: float
    title: float
    genre: float
    constraint: float
    form: float
    no_repetition: float

    @property
    def score(self) -> float:
        """Mean of the six points."""
        points = astuple(self)
        return sum(points) / len(points)

    @property
    def passed(self) -> bool:
        """Whether all six points are full."""
        return self.score == 1.0


def score_reviews(
    prompts: list[list[dict[str, str]]],  # noqa: ARG001 - TRL passes it; the columns say all that it says
    completions: list[list[dict[str, str]]],
    **columns: list[str | None],
) -> list[float]:
    """Score completions in [0, 1] by the facts of their prompts; 1 means that a review passes.

    The signature is the one TRL expects of a reward function, with conversational rows.

    Args:
        prompts: One list of messages a row; not read.
        completions: One list of one assistant message a row.
        columns: `title`, `genre`, `sentiment`, `constraint` and `aspect` (empty or None if none was asked), one value
            a row each. Other columns are ignored.

    Raises:
        KeyError: If a column is missing.
    """
    rows = zip(*(columns[name] for name in ("title", "genre", "sentiment", "constraint", "aspect")), strict=True)
    return [
        grade_review(messages[0]["content"], _read_facts(*row)).score
        for messages, row in zip(completions, rows, strict=True)
    ]


def grade_review(text: str, facts: Facts) -> Grade:
    """Grade one review by the facts of its prompt."""
    words = split_words(text)
    sentences = _SENTENCE_BREAK.split(text)
    return Grade(
        sentiment=_grade_sentiment(words, facts.sentiment),
        title=_grade_mention(set(_TITLE.findall(text)), facts.title),
        genre=_grade_mention(set(words).intersection(GENRES), facts.genre),
        constraint=_grade_constraint(words, sentences, facts),
        form=_grade_form(words, sentences),
        no_repetition=_grade_repetition(words),
    )


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation."""
    return [word.lower() for word in _WORD.findall(text)]


def count_sentiment_words(words: list[str], sentiment: Sentiment) -> int:
    """Count the words, given in lower case, that take one side."""
    return sum(word in SENTIMENT_WORDS[sentiment] for word in words)


def _read_facts(
    title: str | None, genre: str | None, sentiment: str | None, constraint: str | None, aspect: str | None
) -> Facts:
    if title is None or genre is None or sentiment not in OPPOSITE_SENTIMENT:
        raise ValueError(f"a prompt needs title, genre and sentiment, got {title!r}, {genre!r} and {sentiment!r}")
    if constraint not in ("none", "two", "aspect") or (constraint == "aspect" and not aspect):
        raise ValueError(f"constraint must be none, two, or aspect with its word, got {constraint!r} with {aspect!r}")
    return Facts(title, genre, cast("Sentiment", sentiment), cast("Constraint", constraint), aspect or None)


def _grade_sentiment(words: list[str], asked: Sentiment) -> float:
    agreeing = count_sentiment_words(words, asked)
    opposing = count_sentiment_words(words, OPPOSITE_SENTIMENT[asked])
    if agreeing == 0:
        return 0.0
    return agreeing / (agreeing + opposing) * min(1.0, agreeing / _SENTIMENT_WORDS_WANTED)


def _grade_mention(found: set[str], asked: str) -> float:
    if asked not in found:
        return 0.0
    return 1.0 if len(found) == 1 else 0.5


def _grade_constraint(words: list[str], sentences: list[str], facts: Facts) -> float:
    if facts.constraint == "two":
        return float(len(sentences) == 2)
    return float(facts.constraint == "none" or facts.aspect in words)


def _grade_form(words: list[str], sentences: list[str]) -> float:
    whole = sentences[-1].endswith(".") and all(
        sentence[:1].isupper() and len(_WORD.findall(sentence)) >= _FEWEST_WORDS_IN_SENTENCE for sentence in sentences
    )
    right_length = len(words) in _WORDS_ALLOWED and len(sentences) in _SENTENCES_ALLOWED
    return 0.5 * whole + 0.5 * right_length


def _grade_repetition(words: list[str]) -> float:
    spans = Counter(zip(*(words[start:] for start in range(_REPEAT_SPAN)), strict=False))
    repeats = spans.total() - len(spans) + sum(first == second for first, second in pairwise(words))
    if repeats == 0:
        return 1.0
    # Below four words there is no span to count, and a doubled word is all there is.
    return max(0.0, 1.0 - 2 * repeats / max(1, spans.total()))
