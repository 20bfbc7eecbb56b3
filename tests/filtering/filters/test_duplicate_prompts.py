import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filtering.filtering import filter_pairs
from filtering.filters.duplicate_prompts import DuplicatePromptsConfig
from judging.schema import PAIRS


def pair(pair_id, prompt, margin=1.0, system=""):
    messages = [{"role": "system", "content": system}] * bool(system) + [{"role": "user", "content": prompt}]
    return {"pair_id": pair_id, "messages": messages, "chosen": f"c{pair_id}", "rejected": "r", "margin": margin}


def run(max_pairs, *records):
    config = DuplicatePromptsConfig(name="duplicate_prompts", max_pairs=max_pairs)
    return filter_pairs(pa.Table.from_pylist(list(records), schema=PAIRS), [config])


def test_best_pairs_of_a_prompt_stay():
    records = [pair("a", "Why?", 1.0), pair("b", "why? ", 3.0), pair("c", "How?", 0.1), pair("d", "WHY?", 2.0)]
    assert run(1, *records).kept["pair_id"].to_pylist() == ["b", "c"]
    assert run(2, *records).kept["pair_id"].to_pylist() == ["b", "c", "d"]
    drops = {row["id"]: (row["reason"], row["value"], row["threshold"]) for row in run(1, *records).drops.to_pylist()}
    assert drops == {"d": ("duplicate_prompt", 2.0, 1.0), "a": ("duplicate_prompt", 3.0, 1.0)}


def test_pair_with_an_unknown_margin_comes_last():
    assert run(1, pair("a", "Why?", None), pair("b", "Why?", 0.1)).kept["pair_id"].to_pylist() == ["b"]


def test_another_system_prompt_makes_another_prompt():
    assert run(1, pair("a", "Why?"), pair("b", "Why?", system="Be brief.")).drops.num_rows == 0


def test_limit_below_one_is_an_error():
    with pytest.raises(ValidationError, match="max_pairs"):
        DuplicatePromptsConfig(name="duplicate_prompts", max_pairs=0)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([None, 1.0, 2.0])), max_size=12),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_each_prompt_keeps_its_best_pairs_whatever_the_order(rows, max_pairs, random):
    records = [pair(f"id{at}", *row) for at, row in enumerate(rows)]
    tables = run(max_pairs, *records)
    turned = run(max_pairs, *random.sample(records, len(records)))
    assert sorted(tables.kept["pair_id"].to_pylist()) == sorted(turned.kept["pair_id"].to_pylist())
    for prompt in "abc":
        margins = sorted((row[1] or 0.0 for row in rows if row[0] == prompt), reverse=True)
        got = [row["margin"] or 0.0 for row in tables.kept.to_pylist() if row["messages"][0]["content"] == prompt]
        assert sorted(got, reverse=True) == margins[:max_pairs]
    assert run(max_pairs, *tables.kept.to_pylist()).drops.num_rows == 0
