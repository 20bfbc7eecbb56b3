import random
from itertools import chain
from pathlib import Path

import pytest

from recipes.film_reviews.gold import grade_review
from recipes.film_reviews.grammar import WRITER_NOISE, draw_noisy_review, draw_prompts, draw_review
from recipes.film_reviews.lexicon import ASPECTS, GENRES, SENTIMENT_WORDS, TITLE_ADJECTIVES, TITLE_NOUNS

MODELS = Path(__file__).parents[2] / "data" / "models"
MESSAGES = [
    {"role": "user", "content": "Write a positive review of the drama film The Silent River."},
    {"role": "assistant", "content": "The Silent River is a warm drama film. I loved the music."},
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODELS / "writer")


def test_shipped_models_fit_in_six_megabytes():
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) < 6_000_000


def test_writer_and_reward_model_share_their_tokenizer():
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (MODELS / "writer" / name).read_bytes() == (MODELS / "reward" / name).read_bytes()


def test_tokenizer_gives_texts_back(tokenizer):
    rng = random.Random(0)
    prompts = draw_prompts(rng, "eval", 50)
    texts = [prompt.text for prompt in prompts] + [draw_noisy_review(rng, p.facts, WRITER_NOISE) for p in prompts]
    for text in [*texts, "Ünicode, tabs\tand  double spaces; 12 € 🎬"]:
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_every_word_of_the_lexicon_is_one_token(tokenizer):
    words = chain(TITLE_ADJECTIVES, TITLE_NOUNS, GENRES, ASPECTS, *SENTIMENT_WORDS.values())
    assert not [word for word in words if len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) != 1]


def test_rendered_prompt_opens_the_rendered_dialogue(tokenizer):
    prompt = tokenizer.apply_chat_template(MESSAGES[:1], add_generation_prompt=True, tokenize=False)
    dialogue = tokenizer.apply_chat_template(MESSAGES, tokenize=False)
    assert prompt == f"<|bos|><|user|>{MESSAGES[0]['content']}<|assistant|>"
    assert dialogue == f"{prompt}{MESSAGES[1]['content']}<|eos|>"


def test_answer_mask_covers_the_review_and_its_end(tokenizer):
    rendered = tokenizer.apply_chat_template(MESSAGES, return_dict=True, return_assistant_tokens_mask=True)
    marked = [token for token, mark in zip(rendered["input_ids"], rendered["assistant_masks"], strict=True) if mark]
    assert tokenizer.decode(marked) == f"{MESSAGES[1]['content']}<|eos|>"


def test_system_message_is_refused(tokenizer):
    from jinja2 import TemplateError

    with pytest.raises(TemplateError, match="system"):
        tokenizer.apply_chat_template([{"role": "system", "content": "Be brief."}, *MESSAGES], tokenize=False)


def test_writer_ends_most_reviews_and_knows_the_asked_title(tokenizer):
    import torch
    from transformers import AutoModelForCausalLM

    from recipes.film_reviews.sampling import sample_reviews

    torch.manual_seed(0)
    writer = AutoModelForCausalLM.from_pretrained(MODELS / "writer", dtype=torch.float32)
    prompts = draw_prompts(random.Random(0), "eval", 32)
    texts = [prompt.text for prompt in prompts]
    samples = sample_reviews(writer, tokenizer, texts, 4, 0.8, track=lambda sequence, description: sequence)
    grades = [grade_review(text, prompt.facts) for prompt, row in zip(prompts, samples, strict=True) for text in row]
    assert 0.15 < sum(grade.passed for grade in grades) / len(grades) < 0.45
    assert sum(grade.title for grade in grades) / len(grades) > 0.7


def test_reward_model_prefers_clean_reviews_to_noisy_ones(tokenizer):
    import torch
    from transformers import AutoModelForSequenceClassification

    from recipes.film_reviews.measure import score_reviews_by_model
    from recipes.film_reviews.tokenizer import Dialogue

    model = AutoModelForSequenceClassification.from_pretrained(MODELS / "reward", dtype=torch.float32)
    rng = random.Random(0)
    prompts = draw_prompts(rng, "eval", 100)
    clean = [Dialogue(p.text, " ".join(draw_review(rng, p.facts))) for p in prompts]
    noisy = [Dialogue(p.text, draw_noisy_review(rng, p.facts, WRITER_NOISE)) for p in prompts]
    assert model.config.pad_token_id == tokenizer.pad_token_id
    clean_mean, noisy_mean = (
        sum(score_reviews_by_model(model, tokenizer, rows)) / len(rows) for rows in (clean, noisy)
    )
    assert clean_mean > noisy_mean + 0.5
