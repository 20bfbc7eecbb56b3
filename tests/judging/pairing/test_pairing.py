import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.schema import CANDIDATES, DROPS, PROMPTS
from judging.config import PairingConfig
from judging.pairing.pairing import check_conservation, explain_no_pairs, pair_candidates
from judging.schema import PAIRS, SCORES


def rows(schema, *records):
    return pa.Table.from_pylist(list(records), schema=schema)


def prompts(*ids):
    return rows(
        PROMPTS,
        *(
            {"prompt_id": id, "messages": [{"role": "user", "content": f"Question {id}"}], "split": "train",
             "source": "test"}
            for id in ids
        ),
    )  # fmt: skip


def candidate(id, prompt_id="p", text=None, index=0, **fields):
    text = f"{id:8.8}" if text is None else text  # all of one length, no two alike
    return {"candidate_id": id, "prompt_id": prompt_id, "text": text, "sample_index": index, **fields}


def scores(**by_id):
    return rows(SCORES, *({"candidate_id": id, "score": score} for id, score in by_id.items()))


def pair(prompt_table, candidate_rows, score_table, **config):
    return pair_candidates(prompt_table, rows(CANDIDATES, *candidate_rows), score_table, PairingConfig(**config))


def ids(tables):
    return [(row["chosen_id"], row["rejected_id"]) for row in tables.pairs.to_pylist()]


def drops(tables):
    return {(row["kind"], row["id"]): row["reason"] for row in tables.drops.to_pylist()}


def test_highest_score_is_chosen_and_lowest_rejected():
    tables = pair(
        prompts("p"), [candidate("a", index=0), candidate("b", index=1), candidate("c", index=2)], scores(a=2, b=3, c=1)
    )
    assert ids(tables) == [("b", "c")]
    assert drops(tables) == {("candidate", "a"): "not_picked"}
    assert tables.pairs.schema == PAIRS
    assert tables.drops.schema == DROPS


def test_pair_carries_what_training_wants():
    chosen = candidate(
        "a", text="right", token_ids=[5, 2], finish_reason="stop", logprob_sum=-1.5, policy="x", tokenizer="t",
        prompt_hash="h",
    )  # fmt: skip
    rejected = candidate("b", text="wrong", index=1, finish_reason="length", policy="y", prompt_hash="h")
    row = pair(prompts("p"), [chosen, rejected], scores(a=1.0, b=0.25)).pairs.to_pylist()[0]
    assert row.pop("pair_id")
    assert row == {
        "prompt_id": "p", "messages": [{"role": "user", "content": "Question p"}], "split": "train", "source": "test",
        "chosen_id": "a", "chosen": "right", "chosen_token_ids": [5, 2], "chosen_finish_reason": "stop",
        "chosen_logprob_sum": -1.5, "chosen_policy": "x", "chosen_tokenizer": "t", "chosen_score": 1.0,
        "rejected_id": "b", "rejected": "wrong", "rejected_token_ids": None, "rejected_finish_reason": "length",
        "rejected_logprob_sum": None, "rejected_policy": "y", "rejected_tokenizer": None, "rejected_score": 0.25,
        "margin": 0.75, "rule": "best_worst", "prompt_hash": "h", "weight": None,
        "uncertainty": None, "score_std": 0.375, "soft_label": None, "chosen_p_win": None, "rejected_p_win": None,
        "chosen_aspects": None, "rejected_aspects": None,
    }  # fmt: skip


def test_uncertainty_of_a_margin_joins_both_scores_and_is_null_where_one_is_unknown():
    table = [candidate(id, id[0], index=index) for index, id in enumerate(("pa", "pb", "qa", "qb"))]
    judged = zip(("pa", "pb", "qa", "qb"), (2.0, 1.0, 2.0, 1.0), (0.3, 0.4, 0.3, None), strict=True)
    score_table = rows(
        SCORES, *({"candidate_id": id, "score": score, "uncertainty": spread} for id, score, spread in judged)
    )
    made = pair(prompts("p", "q"), table, score_table).pairs
    assert made["uncertainty"].to_pylist() == [pytest.approx(0.5), None]


def test_score_std_is_of_all_scored_answers_of_the_prompt():
    # Of 1, 2, 2, 5: mean 2.5, squared differences 2.25 + 0.25 + 0.25 + 6.25 = 9, over 4 = 2.25.
    table = [candidate(id, index=index) for index, id in enumerate("abcde")]
    table += [candidate("f", "q"), candidate("g", "q", index=1)]
    made = pair(prompts("p", "q"), table, scores(a=1, b=2, c=2, d=5, e=None, f=10, g=12)).pairs
    assert made["score_std"].to_pylist() == [1.5, 1.0]


def test_prompt_hash_is_null_where_the_answers_saw_different_prompts():
    table = [candidate("a", prompt_hash="h"), candidate("b", index=1, prompt_hash="other")]
    assert pair(prompts("p"), table, scores(a=1, b=0)).pairs["prompt_hash"].to_pylist() == [None]


def test_among_highest_scores_the_shortest_answer_is_chosen():
    table = [candidate("long", text="a long one"), candidate("short", text="one", index=1), candidate("bad", index=2)]
    assert ids(pair(prompts("p"), table, scores(long=5, short=5, bad=1))) == [("short", "bad")]


def test_among_highest_scores_of_one_length_the_first_sample_is_chosen():
    table = [candidate("second", index=1), candidate("first", index=0), candidate("bad", index=2)]
    assert ids(pair(prompts("p"), table, scores(second=5, first=5, bad=1))) == [("first", "bad")]


def test_among_lowest_scores_the_closest_in_length_to_the_chosen_is_rejected():
    table = [
        candidate("good", text="12345678"),
        candidate("tiny", text="1", index=1),
        candidate("near", text="1234567890", index=2),
        candidate("huge", text="1" * 40, index=3),
    ]
    assert ids(pair(prompts("p"), table, scores(good=5, tiny=1, near=1, huge=1))) == [("good", "near")]


def test_among_lowest_scores_equally_close_the_last_sample_is_rejected():
    table = [candidate("good", text="1234"), candidate("below", text="123", index=1), candidate("above", "p", "12345")]
    table[2]["sample_index"] = 2
    assert ids(pair(prompts("p"), table, scores(good=5, below=1, above=1))) == [("good", "above")]


def test_tie_yields_no_pair():
    # At least five published pipelines emit the first of equal candidates as both chosen and rejected.
    tables = pair(prompts("p"), [candidate("a"), candidate("b", index=1)], scores(a=3, b=3))
    assert ids(tables) == []
    assert drops(tables) == {("prompt", "p"): "tied", ("candidate", "a"): "tied", ("candidate", "b"): "tied"}
    row = tables.drops.to_pylist()[0]
    assert (row["value"], row["threshold"], row["context"]) == (0.0, 0.0, "Question p")


def test_margin_must_be_above_the_least_one():
    table = [candidate("a", "p"), candidate("b", "p", index=1), candidate("c", "q"), candidate("d", "q", index=1)]
    tables = pair(prompts("p", "q"), table, scores(a=1.0, b=0.5, c=1.0, d=0.25), min_margin=0.5)
    assert ids(tables) == [("c", "d")]
    row = tables.drops.to_pylist()[0]
    assert (row["id"], row["reason"], row["value"], row["threshold"]) == ("p", "min_margin", 0.5, 0.5)


def test_unscored_answer_never_becomes_rejected():
    # Published pipelines turn a judge's parse failure into 0 or -1, which then is the lowest score.
    table = [candidate("a"), candidate("b", index=1), candidate("failed", index=2)]
    tables = pair(prompts("p"), table, scores(a=2, b=1, failed=None))
    assert ids(tables) == [("a", "b")]
    assert drops(tables) == {("candidate", "failed"): "unscored"}


def test_prompt_with_one_scored_answer_gives_no_pair():
    table = [candidate("a"), candidate("b", index=1), candidate("c", index=2)]
    tables = pair(prompts("p"), table, scores(a=2, b=None, c=None))
    assert drops(tables) == {
        ("prompt", "p"): "too_few_scored",
        ("candidate", "a"): "too_few_scored",
        ("candidate", "b"): "unscored",
        ("candidate", "c"): "unscored",
    }
    row = tables.drops.to_pylist()[0]
    assert (row["value"], row["threshold"]) == (1.0, 2.0)


def test_scores_join_by_id_not_by_position():
    table = [candidate("a"), candidate("b", index=1), candidate("c", index=2)]
    assert ids(pair(prompts("p"), table, scores(c=1, a=3, b=2))) == [("a", "c")]


def test_equal_prompts_with_different_ids_are_not_merged():
    twice = rows(PROMPTS, *({"prompt_id": id, "messages": [{"role": "user", "content": "Same"}]} for id in ("p", "q")))
    table = [candidate("a", "p"), candidate("b", "p", index=1), candidate("c", "q"), candidate("d", "q", index=1)]
    assert ids(pair(twice, table, scores(a=1, b=0, c=5, d=4))) == [("a", "b"), ("c", "d")]


def test_last_prompts_are_paired_too():
    # A published loop lost the last prompts, those that did not fill a shard for each worker.
    names = [f"p{number}" for number in range(7)]
    table = [candidate(f"{name}-{side}", name, index=side) for name in names for side in (0, 1)]
    by_id = {row["candidate_id"]: float(row["sample_index"]) for row in table}
    assert pair(prompts(*names), table, scores(**by_id)).pairs["prompt_id"].to_pylist() == names


def test_texts_taken_in_blocks_stay_with_their_pairs(monkeypatch):
    # All at once, more than 2 GiB of texts would overflow an Arrow string array.
    monkeypatch.setattr("judging.pairing.pair_rows._BLOCK", 2)
    table = [candidate(f"c{row}", f"p{row // 2}", f"text {row}", row % 2) for row in range(10)]
    tables = pair(prompts(*(f"p{row}" for row in range(5))), table, scores(**{f"c{row}": row for row in range(10)}))
    assert tables.pairs["chosen"].to_pylist() == [f"text {row}" for row in (1, 3, 5, 7, 9)]
    assert tables.pairs["rejected"].to_pylist() == [f"text {row}" for row in (0, 2, 4, 6, 8)]


def test_prompt_without_candidates_is_not_pairings_concern():
    tables = pair(prompts("p", "empty"), [candidate("a"), candidate("b", index=1)], scores(a=1, b=0))
    assert (len(tables.pairs), len(tables.drops)) == (1, 0)


def test_no_candidates_give_empty_tables():
    tables = pair(prompts("p"), [], scores())
    assert (tables.pairs.schema, len(tables.pairs), tables.drops.schema, len(tables.drops)) == (PAIRS, 0, DROPS, 0)


def test_candidate_without_a_score_row_is_an_error():
    with pytest.raises(ValueError, match="1 of 2 candidates have no score row, the first is b"):
        pair(prompts("p"), [candidate("a"), candidate("b", index=1)], scores(a=1))


def test_candidate_without_a_prompt_is_an_error():
    with pytest.raises(ValueError, match="1 of 1 candidates have no prompt row, the first is q"):
        pair(prompts("p"), [candidate("a", "q")], scores(a=1))


def test_two_judges_scores_in_one_table_are_an_error():
    doubled = pa.concat_tables([scores(a=1, b=0), scores(a=0, b=1)])
    with pytest.raises(ValueError, match="4 score rows hold 2 ids"):
        pair(prompts("p"), [candidate("a"), candidate("b", index=1)], doubled)


def test_candidate_that_stands_twice_is_an_error():
    with pytest.raises(ValueError, match="2 candidate rows hold 1 ids"):
        pair(prompts("p"), [candidate("a"), candidate("a", index=1)], scores(a=1))


def test_context_is_the_first_200_characters_on_one_line():
    text = "one\n\n\ntwo " + "é" * 300
    tables = pair(prompts("p"), [candidate("a", text=text), candidate("b", index=1)], scores(a=1, b=1))
    context = tables.drops.to_pylist()[1]["context"]
    assert context == ("one   two " + "é" * 300)[:200]


def test_conservation_check_notices_a_lost_and_a_doubled_row():
    table = [candidate("a"), candidate("b", index=1), candidate("c", index=2)]
    tables = pair(prompts("p"), table, scores(a=1, b=0, c=0.5))
    candidates = rows(CANDIDATES, *table)
    check_conservation(candidates, tables.pairs, tables.drops)
    with pytest.raises(RuntimeError, match=r"lost or doubled candidates: 3 in, 2 in pairs \+ 0 dropped"):
        check_conservation(candidates, tables.pairs, tables.drops.slice(0, 0))
    with pytest.raises(RuntimeError, match="lost or doubled candidates"):
        check_conservation(candidates, tables.pairs, pa.concat_tables([tables.drops, tables.drops]))
    with pytest.raises(RuntimeError, match="lost or doubled prompts"):
        check_conservation(candidates, tables.pairs.slice(0, 0), tables.drops)


def test_explanation_of_ties_names_the_shared_score():
    table = [candidate("a", "p"), candidate("b", "p", index=1), candidate("c", "q"), candidate("d", "q", index=1)]
    message = explain_no_pairs(pair(prompts("p", "q"), table, scores(a=0, b=0, c=0, d=0)).drops)
    assert message.startswith("pairing made no pair from 2 prompts; 2 are tied: every candidate of a prompt got the")
    assert "(0.0 for all)" in message
    assert "temperature" in message


def test_explanation_of_small_margins_names_the_field_and_the_largest_margin():
    table = [candidate("a"), candidate("b", index=1)]
    message = explain_no_pairs(pair(prompts("p"), table, scores(a=0.5, b=0.25), min_margin=1.0).drops)
    assert "1 have a margin of at most judging.pairing.min_margin 1.0, the largest margin is 0.25" in message


def test_explanation_of_too_few_scores():
    assert "1 have fewer than 2 scored" in explain_no_pairs(pair(prompts("p"), [candidate("a")], scores(a=1)).drops)


def test_explanation_of_nothing_to_pair():
    assert explain_no_pairs(DROPS.empty_table()) == "pairing made no pair: it was given no candidates"


@st.composite
def scored_candidates(draw):
    """Candidates of a few prompts with coarse scores, so that ties and unscored ones are common."""
    records = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["p", "q", "r"]),
                st.integers(0, 3),
                st.text(max_size=4),
                st.one_of(st.none(), st.sampled_from([-1.0, 0.0, 0.5, 2.0])),
            ),
            max_size=14,
        )
    )
    table = [candidate(f"c{row}", id, text, index) for row, (id, index, text, _) in enumerate(records)]
    return table, {f"c{row}": score for row, (*_, score) in enumerate(records)}


@settings(deadline=None)
@given(scored_candidates(), st.randoms(use_true_random=False), st.sampled_from([0.0, 0.5]))
def test_order_of_candidates_changes_nothing(case, random, min_margin):
    table, by_id = case
    shuffled = random.sample(table, len(table))
    score_rows = dict(random.sample(list(by_id.items()), len(by_id)))
    straight = pair(prompts("p", "q", "r"), table, scores(**by_id), min_margin=min_margin)
    turned = pair(prompts("p", "q", "r"), shuffled, scores(**score_rows), min_margin=min_margin)
    assert straight.pairs.equals(turned.pairs)
    assert straight.drops.equals(turned.drops)


@settings(deadline=None)
@given(scored_candidates(), st.sampled_from([0.0, 0.5]))
def test_pairs_agree_with_a_plain_loop_and_nothing_is_lost(case, min_margin):
    table, by_id = case
    tables = pair(prompts("p", "q", "r"), table, scores(**by_id), min_margin=min_margin)
    expected = []
    for prompt_id in ("p", "q", "r"):
        own = [row for row in table if row["prompt_id"] == prompt_id and by_id[row["candidate_id"]] is not None]
        if len(own) < 2:
            continue
        best = min(own, key=lambda row: (-by_id[row["candidate_id"]], len(row["text"]), row["sample_index"], _id(row)))
        lower = [
            row
            for row in own
            if by_id[best["candidate_id"]] - by_id[row["candidate_id"]] > min_margin and row["text"] != best["text"]
        ]
        if lower:
            worst = min(
                lower,
                key=lambda row: (
                    by_id[row["candidate_id"]],
                    abs(len(row["text"]) - len(best["text"])),
                    -row["sample_index"],
                    -_id(row),
                ),
            )
            expected.append((best["candidate_id"], worst["candidate_id"]))
    assert ids(tables) == expected
    used = {id for sides in ids(tables) for id in sides}
    dropped = set(drops(tables))
    assert {id for kind, id in dropped if kind == "candidate"} == set(by_id) - used
    assert {id for kind, id in dropped if kind == "prompt"} == {row["prompt_id"] for row in table} - set(
        tables.pairs["prompt_id"].to_pylist()
    )
    for row in tables.pairs.to_pylist():
        assert row["chosen_score"] > row["rejected_score"]
        assert math.isclose(row["margin"], row["chosen_score"] - row["rejected_score"])


@settings(deadline=None)
@given(scored_candidates())
def test_answer_between_best_and_worst_changes_no_pair(case):
    table, by_id = case
    before = pair(prompts("p", "q", "r"), table, scores(**by_id))
    between = {id: (row["chosen_score"] + row["rejected_score"]) / 2 for row in before.pairs.to_pylist()
               for id in [f"new-{row['prompt_id']}"]}  # fmt: skip
    added = [candidate(id, id.removeprefix("new-"), index=9) for id in between]
    after = pair(prompts("p", "q", "r"), table + added, scores(**by_id, **between))
    assert ids(after) == ids(before)


def _id(row):
    """Rank of the id; two digits would sort as text."""
    return sorted(f"c{number}" for number in range(14)).index(row["candidate_id"])
