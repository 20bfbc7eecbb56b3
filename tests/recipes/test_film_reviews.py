import json
import random
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.film_reviews.faults import find_faults
from recipes.film_reviews.gold import grade_review, score_reviews
from recipes.film_reviews.grammar import (
    BALANCED_NOISE,
    WRITER_NOISE,
    draw_noisy_review,
    draw_opener,
    draw_prompts,
    draw_review,
    flip_sentiment,
    phrase_prompts,
)
from recipes.film_reviews.lexicon import (
    ASPECTS,
    GENRES,
    OPPOSITE_WORD,
    SENTIMENT_WORDS,
    TITLE_ADJECTIVES,
    TITLE_NOUNS,
    Facts,
    titles_of,
)

DATA = Path(__file__).parents[2] / "data"
SPLITS = ("train", "eval", "vault")
FACTS = Facts("The Silent River", "drama", "positive", "none", None)
GOOD = "The Silent River is a warm drama film. I loved the music."


def read_shipped_prompts():
    return [json.loads(line) for line in (DATA / "prompts" / "film_reviews.jsonl").read_text().splitlines()]


def test_review_that_does_all_that_was_asked_passes():
    grade = grade_review(GOOD, FACTS)
    assert grade.passed
    assert grade.score == 1.0


def test_empty_review_keeps_only_the_points_that_nothing_can_break():
    grade = grade_review("", FACTS)
    assert (grade.sentiment, grade.title, grade.genre, grade.constraint) == (0, 0, 0, 1)
    assert (grade.form, grade.no_repetition) == (0, 1)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        (GOOD, 1.0),
        ("The Silent River is a warm drama film. I saw it on a rainy Tuesday.", 0.5),
        ("The Silent River is a warm drama film. I hated the music.", 0.25),
        ("The Silent River is a warm drama film. I loved the music. The script is dull.", 2 / 3),
        ("The Silent River is a dull drama film. I hated the music.", 0.0),
    ],
)
def test_sentiment_is_the_asked_share_of_sentiment_words(text, points):
    assert grade_review(text, FACTS).sentiment == pytest.approx(points)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        (GOOD, 1.0),
        ("The Silent River is like The Golden Garden. I loved the music.", 0.5),
        ("The Golden Garden is a warm drama film.", 0.0),
        ("the silent river is a warm drama film.", 0.0),
        ("The Silent Rivers is a warm drama film.", 0.0),
    ],
)
def test_title_counts_in_full_only_when_named_alone(text, points):
    assert grade_review(text, FACTS).title == points


@pytest.mark.parametrize(
    ("text", "points"),
    [(GOOD, 1.0), ("A drama and a comedy in one.", 0.5), ("As a comedy it is warm.", 0.0), ("It is warm.", 0.0)],
)
def test_genre_counts_in_full_only_when_named_alone(text, points):
    assert grade_review(text, FACTS).genre == points


@pytest.mark.parametrize(
    ("text", "points"), [("One is here. Two is here.", 1.0), ("One is here.", 0.0), ("A b c. D e f. G h i.", 0.0)]
)
def test_two_sentences_are_neither_one_nor_three(text, points):
    assert grade_review(text, replace(FACTS, constraint="two")).constraint == points


def test_asked_aspect_has_to_be_mentioned_as_a_whole_word():
    asked = replace(FACTS, constraint="aspect", aspect="music")
    assert grade_review("I loved the Music.", asked).constraint == 1.0
    assert grade_review("I loved the musical score.", asked).constraint == 0.0


@pytest.mark.parametrize(
    ("text", "points"),
    [
        (GOOD, 1.0),
        (GOOD.rstrip("."), 0.5),
        (GOOD + " it was warm.", 0.5),
        (GOOD + " So warm.", 0.5),
        ("The Silent River is a warm drama film indeed.", 0.5),
        ("It is warm.", 0.5),
        (" ".join(["The music is warm."] * 5), 0.5),
        ("short", 0.0),
    ],
)
def test_form_is_half_whole_sentences_and_half_length(text, points):
    assert grade_review(text, FACTS).form == points


@pytest.mark.parametrize(
    ("text", "points"),
    [
        (GOOD, 1.0),
        ("It is is warm.", 0.0),
        ("One two three four five six seven eight nine nine.", 5 / 7),
        ("The music is warm. The music is warm.", 3 / 5),
        ("Warm warm warm warm warm warm.", 0.0),
        ("Warm warm.", 0.0),
    ],
)
def test_repeated_phrases_and_doubled_words_cost(text, points):
    assert grade_review(text, FACTS).no_repetition == pytest.approx(points)


def test_scores_come_from_the_columns_in_the_order_of_the_rows():
    scores = score_reviews(
        prompts=[[{"role": "user", "content": "Review it."}]] * 2,
        completions=[[{"role": "assistant", "content": text}] for text in (GOOD, "Nothing")],
        title=["The Silent River"] * 2,
        genre=["drama"] * 2,
        sentiment=["positive"] * 2,
        constraint=["aspect", "none"],
        aspect=["music", ""],
        prompt_id=["a", "b"],
    )
    assert scores == [1.0, pytest.approx(2 / 6)]


def test_constraint_without_its_aspect_is_refused():
    columns = {"title": ["The Silent River"], "genre": ["drama"], "sentiment": ["positive"]}
    with pytest.raises(ValueError, match="constraint must be"):
        score_reviews([[]], [[{"role": "assistant", "content": GOOD}]], **columns, constraint=["aspect"], aspect=[None])


@given(seed=st.integers(0, 2**32), split=st.sampled_from(SPLITS))
def test_clean_review_always_passes(seed, split):
    rng = random.Random(seed)
    (prompt,) = draw_prompts(rng, split, 1)
    text = " ".join(draw_review(rng, prompt.facts))
    assert grade_review(text, prompt.facts).passed, text


@given(seed=st.integers(0, 2**32))
def test_opener_has_no_fault_but_its_brevity(seed):
    rng = random.Random(seed)
    (prompt,) = draw_prompts(rng, "train", 1)
    assert set(find_faults(draw_opener(rng, prompt.facts), prompt.facts).appears_at) == {float("inf")}


@given(seed=st.integers(0, 2**32), noise=st.sampled_from([WRITER_NOISE, BALANCED_NOISE]))
def test_equal_seeds_draw_equal_reviews(seed, noise):
    assert draw_noisy_review(random.Random(seed), FACTS, noise) == draw_noisy_review(random.Random(seed), FACTS, noise)


def test_about_a_quarter_of_the_noisy_reviews_pass():
    rng = random.Random(0)
    prompts = draw_prompts(rng, "train", 2_000)
    passed = sum(grade_review(draw_noisy_review(rng, p.facts, WRITER_NOISE), p.facts).passed for p in prompts)
    assert 0.22 < passed / len(prompts) < 0.30


def test_flipping_a_review_twice_gives_it_back():
    assert flip_sentiment(GOOD) == "The Silent River is a stale drama film. I hated the music."
    assert flip_sentiment(flip_sentiment(GOOD)) == GOOD


def test_faults_are_found_where_the_word_ends():
    text = "The Golden River is a dull comedy."
    faults = find_faults(text, replace(FACTS, constraint="two"))
    assert [text[: int(end)].split()[-1] for end in faults.appears_at] == ["dull", "Golden", "comedy"]
    assert faults.constraint_neglected


def test_no_word_says_two_things():
    lists = [SENTIMENT_WORDS["positive"], SENTIMENT_WORDS["negative"], GENRES, ASPECTS, TITLE_ADJECTIVES, TITLE_NOUNS]
    words = [word for words in lists for word in words]
    assert len(set(words)) == len(words)
    assert all(OPPOSITE_WORD[OPPOSITE_WORD[word]] == word for word in OPPOSITE_WORD)


def test_titles_of_the_splits_are_disjoint():
    assert [len(titles_of(split)) for split in SPLITS] == [448, 64, 64]
    for one, other in combinations(SPLITS, 2):
        assert not set(titles_of(one)) & set(titles_of(other))


def test_noisy_reviews_name_no_held_out_title_that_was_not_asked_for():
    rng = random.Random(0)
    held_out = {*titles_of("eval"), *titles_of("vault")}
    texts = [draw_noisy_review(rng, FACTS, BALANCED_NOISE) for _ in range(500)]
    assert not [text for text in texts if any(title in text for title in held_out)]


def test_shipped_prompts_are_those_of_the_grammar():
    rows = read_shipped_prompts()
    assert {split: sum(row["split"] == split for row in rows) for split in SPLITS} == {
        "train": 4096,
        "eval": 192,
        "vault": 192,
    }
    assert len({row["prompt"] for row in rows}) == len(rows)
    for row in rows:
        facts = Facts(*(row[name] for name in ("title", "genre", "sentiment", "constraint", "aspect")))
        assert row["title"] in titles_of(row["split"])
        assert row["prompt"] in phrase_prompts(facts)
