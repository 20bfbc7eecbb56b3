"""Length control of a round, through pairing: shaped scores pick the pairs, the judge's own scores stay in them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.schema import CANDIDATES, PROMPTS
from judging.config import PairingConfig
from judging.pairing.pairing import pair_candidates
from judging.pairing.pairing_config import RULE_NAMES
from judging.schema import SCORES


def pair(answers, length_control="fitted", min_margin=0.0, **config):
    """Pair answers given as (prompt, score, characters); their ids are a0, a1, ..."""
    prompts = sorted({prompt for prompt, *_ in answers})
    rows = [
        {
            "prompt_id": prompt,
            "candidate_id": f"a{row}",
            "sample_index": row,
            "text": chr(97 + row % 26) * characters,
            "score": score,
        }
        for row, (prompt, score, characters) in enumerate(answers)
    ]
    return pair_rows(prompts, rows, length_control, min_margin, **config)


def pair_rows(prompts, rows, length_control="fitted", min_margin=0.0, **config):
    questions = [{"prompt_id": id, "messages": [{"role": "user", "content": id}]} for id in prompts]
    tables = (
        pa.Table.from_pylist([{name: row[name] for name in schema.names if name in row} for row in records], schema)
        for schema, records in ((PROMPTS, questions), (CANDIDATES, rows), (SCORES, rows))
    )
    return pair_candidates(*tables, PairingConfig(length_control=length_control, min_margin=min_margin, **config))


def length_biased(bias, n_prompts=300, k=8, seed=0):
    """Answers whose score is a quality that has nothing to do with length, plus `bias` for each character."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(50, 1000, n_prompts * k)
    scores = generator.normal(size=n_prompts * k) + bias * lengths
    return [(f"p{row // k:03}", scores[row], int(length)) for row, length in enumerate(lengths)]


def ids(tables):
    return [(row["chosen_id"], row["rejected_id"]) for row in tables.pairs.to_pylist()]


# In p the longer answer is better, in q a short one is nearly best, in r the better one is longer by next to nothing.
THREE = [
    ("p", 1.0, 100), ("p", 0.0, 10),
    ("q", 1.0, 200), ("q", 0.9, 20), ("q", 0.0, 100),
    ("r", 1.0, 15), ("r", 0.999, 10),
]  # fmt: skip


def test_control_prefers_the_short_answer_that_is_nearly_best():
    assert ids(pair(THREE, "none")) == [("a0", "a1"), ("a2", "a4"), ("a5", "a6")]
    tables = pair(THREE)
    assert ids(tables) == [("a0", "a1"), ("a3", "a4")]
    assert tables.facts["length_gap"] == 5.0  # of 90 and -80; without control 65, of 90, 100 and 5
    assert 0.1 / 180 < tables.facts["length_alpha"] < 0.01


def test_pairs_keep_the_judges_own_scores():
    row = pair(THREE).pairs.to_pylist()[1]
    assert (row["chosen_score"], row["rejected_score"], row["margin"]) == (0.9, 0.0, 0.9)


def test_pair_that_only_its_length_would_decide_is_dropped_with_a_reason_of_its_own():
    drops = {(row["kind"], row["id"]): row for row in pair(THREE).drops.to_pylist()}
    prompt = drops["prompt", "r"]
    assert (prompt["reason"], prompt["threshold"]) == ("length_control", 0.0)
    assert prompt["value"] == pytest.approx(0.999 - 1.0)
    assert {id: row["reason"] for (kind, id), row in drops.items() if kind == "candidate"} == {
        "a2": "not_picked", "a5": "length_control", "a6": "length_control",
    }  # fmt: skip


def test_ties_keep_their_reason_under_control():
    drops = pair([*THREE, ("t", 2.0, 10), ("t", 2.0, 30)]).drops.to_pylist()
    assert [(row["reason"], row["value"]) for row in drops if row["id"] == "t"] == [("tied", 0.0)]


@pytest.mark.parametrize("bias", [0.0005, 0.002, 0.005])
def test_control_takes_the_length_out_of_length_biased_scores(bias):
    answers = length_biased(bias)
    before, after = pair(answers, "none"), pair(answers)
    assert before.facts["length_gap"] > 50
    assert abs(after.facts["length_gap"]) < 2
    assert len(after.pairs) > 0.7 * len(before.pairs)


@pytest.mark.parametrize("rule", [rule for rule in RULE_NAMES if rule != "correct_incorrect"])
def test_control_works_with_every_rule_that_ranks(rule):
    answers = length_biased(0.002, n_prompts=1000)
    before, after = (pair(answers, mode, rule=rule) for mode in ("none", "fitted"))
    assert before.facts["length_gap"] > 50
    assert abs(after.facts["length_gap"]) < 2
    assert len(after.pairs) > 0.5 * len(before.pairs)


def test_alpha_is_what_the_judge_pays_for_a_character():
    assert pair(length_biased(0.0005, n_prompts=3000)).facts["length_alpha"] == pytest.approx(0.0005, rel=0.15)


def test_alpha_scales_with_the_scores_and_the_pairs_do_not_change():
    answers = length_biased(0.002)
    tables, scaled = pair(answers), pair([(prompt, 8 * score, length) for prompt, score, length in answers])
    assert scaled.facts["length_alpha"] == 8 * tables.facts["length_alpha"]
    assert ids(scaled) == ids(tables)


def test_judge_that_prefers_short_answers_is_left_alone():
    # Answers that run on to the limit rightly lose: a price below 0 would bring them back.
    answers = length_biased(-0.002)
    assert pair(answers).facts["length_alpha"] == 0.0
    assert ids(pair(answers)) == ids(pair(answers, "none"))


def test_score_that_is_the_length_leaves_the_pairs_and_shows_in_the_gap():
    tables = pair([("p", 0.25 * length, length) for length in (10, 20, 40)])
    assert ids(tables) == [("a2", "a0")]
    assert tables.facts["length_gap"] == 30.0
    assert tables.facts["score_length_correlation"] == pytest.approx(1.0)


def test_correlation_is_a_mean_over_prompts_whose_scores_and_lengths_vary():
    answers = [
        ("p", 1.0, 10), ("p", 2.0, 20), ("p", 3.0, 30),
        ("q", 1.0, 10), ("q", 0.0, 20), ("q", 0.0, 10), ("q", 1.0, 20),
        ("same score", 5.0, 10), ("same score", 5.0, 90),
        ("same length", 1.0, 10), ("same length", 2.0, 10),
        ("alone", 1.0, 10),
        ("p", None, 500),
    ]  # fmt: skip
    assert pair(answers, "none").facts["score_length_correlation"] == pytest.approx(0.5)


def test_undefined_facts_are_left_out():
    assert pair([("p", 1.0, 10), ("p", 1.0, 10)]).facts == {"length_alpha": 0.0}
    assert pair([]).facts == {"length_alpha": 0.0}
    assert pair([("p", None, 10), ("p", 1.0, 20)]).facts == {"length_alpha": 0.0}


ANSWERS = st.lists(
    st.tuples(
        st.sampled_from("pqrs"), st.one_of(st.none(), st.integers(-8, 8).map(lambda n: n / 4)), st.integers(0, 40)
    ),
    max_size=20,
)
MARGINS = st.sampled_from([0.0, 0.5])


@given(ANSWERS, MARGINS)
def test_own_scores_of_a_pair_always_differ_by_more_than_the_margin(answers, min_margin):
    tables = pair(answers, min_margin=min_margin)  # raises where a row is lost
    for row in tables.pairs.to_pylist():
        assert row["margin"] == row["chosen_score"] - row["rejected_score"] > min_margin


@given(ANSWERS, MARGINS)
def test_control_never_widens_the_gap_and_leaves_pairs_where_there_were_some(answers, min_margin):
    before, after = (pair(answers, mode, min_margin) for mode in ("none", "fitted"))
    assert bool(len(after.pairs)) == bool(len(before.pairs))
    if len(before.pairs):
        assert abs(after.facts["length_gap"]) <= abs(before.facts["length_gap"])
    if before.facts.get("length_gap", 0.0) <= 0:
        assert ids(after) == ids(before)


@given(ANSWERS, st.randoms(use_true_random=False))
def test_order_of_the_rows_changes_nothing(answers, random):
    rows = [
        {
            "prompt_id": prompt,
            "candidate_id": f"a{row}",
            "sample_index": row % 3,
            "text": chr(97 + row) * length,
            "score": score,
        }
        for row, (prompt, score, length) in enumerate(answers)
    ]
    straight, turned = pair_rows("pqrs", rows), pair_rows("pqrs", random.sample(rows, len(rows)))
    assert straight.pairs.equals(turned.pairs)
    assert straight.drops.equals(turned.drops)
    assert straight.facts == turned.facts


@given(ANSWERS, MARGINS)
def test_without_control_a_character_costs_nothing(answers, min_margin):
    tables = pair(answers, "none", min_margin)
    assert tables.facts["length_alpha"] == 0.0
    assert not (np.array(tables.drops["reason"].to_pylist()) == "length_control").any()
