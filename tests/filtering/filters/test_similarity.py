import math
from difflib import SequenceMatcher

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Indel, Levenshtein

from filtering.filtering import filter_pairs
from filtering.filters import similarity
from filtering.filters.similarity import SimilarityConfig, measure, measured_by
from filtering.long_similarity import least_similarity
from judging.schema import PAIRS


def config(**fields):
    return SimilarityConfig(name="similarity", **fields)


def pairs(*texts):
    records = [
        {"pair_id": str(row), "prompt_id": "p", "messages": [], "chosen": chosen, "rejected": rejected}
        for row, (chosen, rejected) in enumerate(texts)
    ]
    return pa.Table.from_pylist(records, schema=PAIRS)


def values(*texts, **fields):
    return measure(pairs(*texts), config(**fields))["similarity"].to_pylist()


def test_scorers_count_edits_or_words():
    texts = ("a b c d e", "a b c d f")
    assert values(texts, measure_from=0) == [pytest.approx(1 - 2 / 18)]
    assert values(texts, measure_from=0, scorer="levenshtein") == [pytest.approx(1 - 1 / 9)]
    assert values(texts, scorer="jaccard") == [pytest.approx(4 / 6)]
    assert values(texts, scorer="jaccard", ngram_words=2) == [pytest.approx(3 / 5)]


def test_jaccard_of_texts_without_words_compares_the_texts():
    assert values(("", ""), ("...", "..."), ("...", "?"), ("", "a"), scorer="jaccard") == [1, 1, 0, 0]
    assert values(("one two", "one two"), ("one", "two"), scorer="jaccard", ngram_words=5) == [1, 0]


def test_near_misses_are_measured_from_the_floor_on():
    texts = ("0123456789", "01234567xy")
    assert math.isnan(values(texts)[0])
    assert values(texts, measure_from=0.75) == [pytest.approx(0.8)]
    funnel = filter_pairs(pairs(texts), [config(measure_from=0.75)]).funnel
    assert [sighting.value for sighting in funnel[0].near_misses] == [pytest.approx(0.8)]


def test_higher_threshold_needs_no_new_measuring_and_a_lower_one_does():
    assert measured_by(config(max_similarity=0.95)) == measured_by(config()) == {"scorer": "indel", "floor": 0.8}
    assert measured_by(config(max_similarity=0.7)) == {"scorer": "indel", "floor": 0.7}
    jaccard = measured_by(config(scorer="jaccard", max_similarity=0.5))
    assert jaccard == measured_by(config(scorer="jaccard")) == {"scorer": "jaccard", "ngram_words": 1}


def test_long_texts_are_held_against_a_lower_bound(monkeypatch):
    monkeypatch.setattr(similarity, "LONG_CHARS", 100)
    words = [f"word{number}" for number in range(100)]
    changed = [*words[:50], "other", *words[51:]]
    drops = filter_pairs(pairs((" ".join(words), " ".join(changed)), (" ".join(words), "short")), [config()]).drops
    assert drops["id"].to_pylist() == ["0"]
    assert drops["reason"].to_pylist() == ["similarity_lower_bound"]
    assert drops["value"][0].as_py() == pytest.approx(Indel.normalized_similarity(" ".join(words), " ".join(changed)))


def test_a_million_characters_take_seconds():
    words = [f"w{number}" for number in range(140_000)]
    text, changed = " ".join(words), " ".join([*words[:1000], "other", *words[1001:]])
    assert len(text) > 900_000
    drops = filter_pairs(pairs((text, changed)), [config()]).drops
    assert drops["value"][0].as_py() > 0.999


WORDS = st.lists(st.sampled_from(["a", "bc", "def", "é", "你", "שלום", "😀", "\0"]), max_size=30).map(" ".join)
SCORERS = {"indel": Indel, "levenshtein": Levenshtein}


@settings(deadline=None)
@given(WORDS, WORDS, st.sampled_from(sorted(SCORERS)))
def test_lower_bound_is_never_above_the_similarity(one, other, scorer):
    exact = SCORERS[scorer].normalized_similarity(one, other)
    assert 0 <= least_similarity(one, other, scorer) <= exact + 1e-12
    assert least_similarity(one, one, scorer) == 1


@settings(deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), max_size=5), st.sampled_from(sorted(SCORERS)), st.floats(0, 1))
def test_similarities_are_rapidfuzz_s_down_to_the_floor_whatever_stands_beside_them(texts, scorer, floor):
    found = values(*texts, scorer=scorer, measure_from=floor, max_similarity=1.0)
    for (one, other), value in zip(texts, found, strict=True):
        exact = SCORERS[scorer].normalized_similarity(one, other, score_cutoff=floor)
        assert value == exact if exact >= floor else math.isnan(value)
        turned = values((other, one), scorer=scorer, measure_from=floor, max_similarity=1.0)
        assert turned == pytest.approx([value], nan_ok=True)


def test_difflib_finds_the_same_planted_pairs():
    text = "a sum of many terms, " * 20
    planted, other = (text + "42", text + "43"), (text, "nothing of the kind " * 20)
    for one, rejected in (planted, other):
        ratio = SequenceMatcher(None, one, rejected, autojunk=False).ratio()
        assert (len(filter_pairs(pairs((one, rejected)), [config()]).drops) == 1) == (ratio > 0.9)


@pytest.mark.parametrize("fields", [{"max_similarity": 1.1}, {"scorer": "cosine"}, {"ngram_words": 0}])
def test_thresholds_out_of_range_name_the_field(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        config(**fields)
