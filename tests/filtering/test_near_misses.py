"""What is shown as a near miss: kept pairs that little would have dropped, and no others."""

import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from filtering.config import FilterChoice
from filtering.filtering import filter_pairs
from judging.schema import PAIRS

REFUSES = "I'm sorry, but I can't help with that."


def near_misses(records, config):
    plain = {"chosen": "one answer", "rejected": "another", "margin": 1.0}
    rows = [
        plain | {"pair_id": f"id{row}", "messages": [{"role": "user", "content": f"Question {row}?"}]} | record
        for row, record in enumerate(records)
    ]
    tables = filter_pairs(pa.Table.from_pylist(rows, schema=PAIRS), [TypeAdapter(FilterChoice).validate_python(config)])
    return [(sighting.row, sighting.value, sighting.threshold) for sighting in tables.funnel[0].near_misses]


def ask(prompt):
    return {"messages": [{"role": "user", "content": prompt}]}


def test_text_without_broken_characters_is_no_near_miss():
    config = {"name": "mismatch", "max_encoding_errors": 0}
    assert near_misses([{}, {"chosen": "a\ufffd"}], config) == []
    assert near_misses([{}, {"chosen": "a\ufffd"}], config | {"max_encoding_errors": 1}) == [(1, 1.0, 1)]


def test_text_without_eval_texts_is_no_near_miss(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "evals.txt").write_text(" ".join(f"w{i}" for i in range(20)))
    assert near_misses([{}, {}], {"name": "contamination", "eval_sets": [str(tmp_path / "evals.txt")]}) == []


def test_prompt_of_one_pair_is_no_near_miss_of_duplicate_prompts():
    records = [ask("Why?"), ask("Why?") | {"margin": 2.0}, ask("How?")]
    assert near_misses(records, {"name": "duplicate_prompts"}) == [(1, 1.0, 1)]


@pytest.mark.parametrize("limit", [{"max_pairs": 3}, {"max_share": 0.75}])
def test_source_within_its_cap_has_no_near_misses(limit):
    sources = ["a"] * 3 + ["b"]
    assert near_misses([{"source": source} for source in sources], {"name": "source_cap"} | limit) == []


def test_last_ones_kept_of_a_cap_are_near_misses():
    records = [{"source": "a", "margin": margin} for margin in (1.0, 2.0, 3.0)]
    assert near_misses(records, {"name": "source_cap", "max_pairs": 2}) == [(1, 2.0, 2)]


def test_text_of_one_prompt_is_no_near_miss_of_constant_answers():
    config = {"name": "constant_answers", "max_prompts": 1, "min_chars": 0}
    assert near_misses([{"chosen": "first"}, {"chosen": "second"}], config) == []


def test_refusal_that_is_kept_has_a_share_within_the_cap():
    records = [{"chosen": REFUSES, "margin": margin} for margin in (1.0, 2.0)] + [{}] * 3
    config = {"name": "refusal", "drop": [], "max_share": 0.3}
    assert near_misses(records, config) == [(1, 0.25, 0.3)]


def test_values_without_end_are_no_near_misses():
    records = [{"rejected_score": float("-inf")}] * 2 + [{"rejected_score": 1.0}]
    assert near_misses(records, {"name": "prompt_selection", "min_rejected_score": {"quantile": 0.5}}) == []
