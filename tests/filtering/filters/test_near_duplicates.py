import itertools

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filtering.config import FilteringConfig
from filtering.filtering import filter_pairs
from filtering.filters.near_duplicates import NEAR_DUPLICATES, NearDuplicatesConfig, measured_by
from judging.schema import PAIRS


def words(n, start=0):
    return [f"w{at}" for at in range(start, start + n)]


def changed(found, *places):
    return [f"other{word}" if at in places else word for at, word in enumerate(found)]


def pair(pair_id, prompt, margin=1.0, chosen="c", system=None):
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt if isinstance(prompt, str) else " ".join(prompt)})
    return {"pair_id": pair_id, "messages": messages, "chosen": chosen, "rejected": "r", "margin": margin}


def run(records, **fields):
    config = NearDuplicatesConfig(name="near_duplicates", **fields)
    return filter_pairs(pa.Table.from_pylist(list(records), schema=PAIRS), [config])


def kept(records, **fields):
    return run(records, **fields).kept["pair_id"].to_pylist()


def test_largest_margin_stays_and_the_ledger_tells_the_similarity():
    # 60 words have 58 runs of three; another last word changes one of them: 57 / 59.
    tables = run([pair("a", changed(words(60), 59)), pair("b", words(60), 2.0), pair("c", words(60, 100))])
    assert tables.kept["pair_id"].to_pylist() == ["b", "c"]
    drop = tables.drops.to_pylist()[0]
    assert (drop["id"], drop["reason"], drop["value"], drop["threshold"]) == ("a", "near_duplicate", 57 / 59, 0.8)
    assert drop["context"].startswith("w0 w1 w2")


def test_prompt_at_the_limit_goes_and_one_below_it_stays_and_is_a_near_miss():
    # 38 words, 36 runs; two words within the text change three runs each, the last word one: 36 - 4 of 36 + 4 = 0.8.
    at, below = changed(words(38), 10, 37), changed(words(38), 10, 20)
    assert kept([pair("a", words(38), 2.0), pair("b", at)]) == ["a"]
    tables = run([pair("a", words(38), 2.0), pair("b", below)])
    assert tables.kept["pair_id"].to_pylist() == ["a", "b"]
    assert [sighting.value for sighting in tables.funnel[0].near_misses] == [30 / 42, 30 / 42]
    assert kept([pair("a", words(38), 2.0), pair("b", below)], min_jaccard=0.7) == ["a"]


def test_dropped_prompt_drops_nobody():
    chain = [changed(words(60), *range(30, 30 + step)) for step in (0, 3, 6)]
    margins = [3.0, 2.0, 1.0]
    records = [pair(name, prompt, margin) for name, prompt, margin in zip("abc", chain, margins, strict=True)]
    assert run(records).drops["id"].to_pylist() == ["b"]


def test_all_pairs_of_a_prompt_share_its_fate_and_its_best_margin_counts():
    one, other = words(50), changed(words(50), 49)
    records = [pair("a", one, 1.0), pair("b", one, 4.0), pair("c", other, 3.0), pair("d", other, 0.5)]
    assert kept(records) == ["a", "b"]


def test_equal_prompts_stay_whatever_their_case_and_punctuation():
    text = " ".join(words(50))
    assert kept(
        [pair("a", text), pair("b", text.upper()), pair("c", text.replace("w7 ", "w7, ")), pair("d", text)]
    ) == [*"abcd"]


def test_survivor_dropped_by_an_earlier_filter_drops_nobody():
    records = [pair("a", words(50), 2.0, chosen="r"), pair("b", changed(words(50), 49))]
    filters = [{"name": "identical"}, {"name": "near_duplicates"}]
    chosen = FilteringConfig.model_validate({"filters": filters}).chosen()
    tables = filter_pairs(pa.Table.from_pylist(records, schema=PAIRS), chosen)
    assert tables.kept["pair_id"].to_pylist() == ["b"]


def test_short_prompts_are_compared_by_characters():
    text = "please tell me in a few plain sentences how a small boat can sail against a strong wind without any engine"
    assert kept([pair("a", text, 2.0), pair("b", text.replace("engine", "engines"))]) == ["a"]
    assert kept(
        [pair("a", text, 2.0), pair("b", text.replace("boat can sail against", "glider should climb above"))]
    ) == [
        "a",
        "b",
    ]


def test_short_prompt_meets_one_that_is_a_little_longer():
    text = words(31)
    assert kept([pair("a", text, 2.0), pair("b", [*text, "more"])]) == ["a"]


def test_prompts_below_twenty_words_have_to_be_equal():
    text = "tell me in a few plain sentences how a small boat can sail against a strong wind"
    assert kept([pair("a", text), pair("b", f"{text}s")]) == ["a", "b"]


def test_characters_of_scripts_without_spaces_count_as_words():
    text = "".join(chr(0x4E00 + 7 * at) for at in range(60))
    assert kept([pair("a", text, 2.0), pair("b", f"{text[:-1]}的"), pair("c", text[::-1])]) == ["a", "c"]


def test_system_prompt_that_all_share_makes_nothing_similar():
    system = " ".join(words(500))
    records = [pair("a", words(40, 1000), system=system), pair("b", words(40, 2000), system=system)]
    assert kept(records) == ["a", "b"]
    near = [pair("a", words(40), 2.0, system="Be brief."), pair("b", changed(words(40), 39), system="Take your time.")]
    assert kept(near) == ["a"]


def test_no_pairs_and_pairs_without_words_pass():
    assert kept([]) == []
    assert kept([pair("a", ""), pair("b", "?!"), pair("c", "\u2028")]) == ["a", "b", "c"]


def test_limit_below_the_floor_is_an_error():
    with pytest.raises(ValidationError, match="min_jaccard"):
        NearDuplicatesConfig(name="near_duplicates", min_jaccard=0.4)


def test_other_limit_needs_no_new_facts_and_another_algorithm_of_signatures_does():
    assert measured_by(NearDuplicatesConfig(name="near_duplicates", min_jaccard=0.6)) == {
        "rensa_algorithm": 2,
        "seed": 42,
    }
    assert NEAR_DUPLICATES.decides_on == ("prompt",)


def test_thousand_prompts_of_one_template_lose_all_but_one():
    records = [pair(f"id{at}", [*words(60), f"topic{at}"], margin=1 + at % 7) for at in range(1000)]
    (survivor,) = kept(records)
    assert int(survivor[2:]) % 7 == 6


def jaccard(one, other):
    sets = [set(zip(words, words[1:], words[2:], strict=False)) for words in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def brute_force(prompts, margins, order, threshold):
    """Give the numbers of those that stay, with equal margins in the order given."""
    stays = []
    for at in sorted(range(len(prompts)), key=lambda one: (-margins[one], order.index(one))):
        if all(jaccard(prompts[at], prompts[other]) < threshold for other in stays):
            stays.append(at)
    return sorted(stays)


@st.composite
def corpora(draw):
    bases = [words(40), words(45, 30)]
    edits = st.tuples(st.sampled_from(bases), st.sets(st.integers(0, 44), max_size=5))
    prompts = [changed(base, *places) for base, places in draw(st.lists(edits, max_size=8))]
    distinct = [prompt for prompt, _ in itertools.groupby(sorted(prompts))]
    # Different margins: equal ones are told apart by hashes, which is tested elsewhere.
    return distinct, draw(st.permutations([float(at) for at in range(len(distinct))]))


@settings(deadline=None)
@given(corpora(), st.sampled_from([0.7, 0.8, 0.9]), st.randoms(use_true_random=False))
def test_survivors_agree_with_comparing_all_in_any_order_and_stay_when_filtered_again(corpus, threshold, random):
    prompts, margins = corpus
    records = [pair(f"{at}", *one) for at, one in enumerate(zip(prompts, margins, strict=True))]
    tables = run(records, min_jaccard=threshold)
    wanted = [str(at) for at in brute_force(prompts, margins, list(range(len(prompts))), threshold)]
    assert tables.kept["pair_id"].to_pylist() == wanted
    assert sorted(kept(random.sample(records, len(records)), min_jaccard=threshold)) == sorted(wanted)
    assert run(tables.kept.to_pylist(), min_jaccard=threshold).drops.num_rows == 0
    stays = [prompts[int(one)] for one in wanted]
    for drop in tables.drops.to_pylist():
        assert drop["value"] == max(jaccard(prompts[int(drop["id"])], other) for other in stays) >= threshold


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([None, 1.0]), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_who_survives_among_equal_margins_hangs_on_ids(margins, random):
    records = [pair(f"id{at}", changed(words(60), at), margin) for at, margin in enumerate(margins)]
    survivors = kept(records)
    assert len(survivors) == 1
    assert kept(random.sample(records, len(records))) == survivors


def test_facts_of_a_slice_are_those_of_its_rows():
    records = [pair(f"id{at}", words(25 + 5 * at, at), system="Be brief." if at % 2 else None) for at in range(5)]
    table = pa.Table.from_pylist(records, schema=PAIRS)
    config = NearDuplicatesConfig(name="near_duplicates")
    facts = NEAR_DUPLICATES.measure(table, config)
    assert NEAR_DUPLICATES.measure(table.slice(1, 3), config).equals(facts.slice(1, 3))
    assert facts["n_words"].to_pylist() == [25, 30, 35, 40, 45]
    assert [bool(size) for size in facts["chars_size"].to_pylist()] == [True, True, True, False, False]
    assert [bool(size) for size in facts["words_size"].to_pylist()] == [False, False, True, True, True]
