import json

import pyarrow as pa
import pytest

from generation.schema import CANDIDATES, PROMPTS
from judging.judge import Verdict
from judging.schema import SCORES
from judging.scoring import Scoring, check_scores, scores_table


class LengthJudge:
    """Scores an answer by its characters; an empty one stays unscored. Gives its verdicts last first."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        return None

    def score(self, tagged):
        for tag, item in reversed(list(tagged)):
            yield tag, Verdict(float(len(item.text))) if item.text else Verdict(None, reason="empty")


def prompts(*rows):
    return pa.Table.from_pylist(
        [
            {"prompt_id": id, "messages": [{"role": "user", "content": text}], "reference_answer": answer, "meta": meta}
            for id, text, answer, meta in rows
        ],
        schema=PROMPTS,
    )


def candidates(*rows):
    return pa.Table.from_pylist(
        [{"candidate_id": id, "prompt_id": prompt_id, "text": text} for id, prompt_id, text in rows], schema=CANDIDATES
    )


PROMPT_ROWS = prompts(("p1", "One?", "1", json.dumps({"title": "The Red Door"})), ("p2", "Two?", None, None))


def test_candidates_are_joined_with_prompts_by_id_not_by_position():
    # A published parser of preferences dropped a missing row and then joined by position: every later prompt got
    # another prompt's answers.
    table = candidates(("c2", "p2", "two"), ("c1", "p1", "one"), ("c3", "p2", "deux"))
    items = Scoring(LengthJudge(), "length", PROMPT_ROWS).items(table)
    assert [(item.candidate_id, item.messages[0]["content"], item.text) for item in items] == [
        ("c2", "Two?", "two"),
        ("c1", "One?", "one"),
        ("c3", "Two?", "deux"),
    ]


@pytest.mark.parametrize("meta", ["no JSON", "[1]", '"text"'])
def test_columns_of_a_prompt_that_are_no_json_object_are_named(meta):
    with pytest.raises(ValueError, match=r"meta of prompt p1 must be a JSON object .*, got"):
        Scoring(LengthJudge(), "length", prompts(("p1", "One?", None, meta))).items(candidates(("c1", "p1", "one")))


def test_item_carries_reference_answer_and_source_columns():
    first, second = Scoring(LengthJudge(), "length", PROMPT_ROWS).items(
        candidates(("c1", "p1", "one"), ("c2", "p2", "two"))
    )
    assert (first.reference_answer, first.columns) == ("1", {"title": "The Red Door"})
    assert (second.reference_answer, second.columns) == (None, {})


def test_candidate_without_its_prompt_is_an_error_that_names_it():
    table = candidates(("c1", "p1", "one"), ("c9", "p9", "nine"))
    with pytest.raises(ValueError, match=r"1 of 2 candidates have no prompt.*c9.*p9"):
        Scoring(LengthJudge(), "length", PROMPT_ROWS).items(table)


def test_verdicts_in_any_order_become_rows_of_their_candidates():
    table = candidates(("c1", "p1", "one"), ("c2", "p2", ""), ("c3", "p2", "three"))
    scoring = Scoring(LengthJudge(), "length", PROMPT_ROWS)
    items = scoring.items(table)
    found = dict(scoring.stream(((0, row), item) for row, item in enumerate(items)))
    part = scoring.collect(table, items, [found[(0, row)] for row in range(3)])["part"]
    assert part.schema == SCORES
    assert part.select(["candidate_id", "prompt_id", "judge", "score", "reason"]).to_pylist() == [
        {"candidate_id": "c1", "prompt_id": "p1", "judge": "length", "score": 3.0, "reason": None},
        {"candidate_id": "c2", "prompt_id": "p2", "judge": "length", "score": None, "reason": "empty"},
        {"candidate_id": "c3", "prompt_id": "p2", "judge": "length", "score": 5.0, "reason": None},
    ]


def test_shard_without_rows_gives_an_empty_table():
    part = Scoring(LengthJudge(), "length", PROMPT_ROWS).collect(candidates(), [], [])["part"]
    assert (len(part), part.schema) == (0, SCORES)


def test_aspects_survive_as_a_map():
    items = Scoring(LengthJudge(), "length", PROMPT_ROWS).items(candidates(("c1", "p1", "one"), ("c2", "p1", "uno")))
    table = scores_table("rubric", items, [Verdict(2.0, aspects={"clear": 1.0, "right": 3.0}), Verdict(1.0)])
    assert table["aspects"].to_pylist() == [[("clear", 1.0), ("right", 3.0)], None]


def test_verdict_short_of_the_shard_is_an_error():
    table = candidates(("c1", "p1", "one"))
    scoring = Scoring(LengthJudge(), "length", PROMPT_ROWS)
    with pytest.raises(ValueError, match="1 candidates, 1 items and 0 verdicts"):
        scoring.collect(table, scoring.items(table), [])


def scored(*verdicts):
    table = candidates(*[(f"c{row}", "p1", "text") for row in range(len(verdicts))])
    return scores_table("length", Scoring(LengthJudge(), "length", PROMPT_ROWS).items(table), list(verdicts))


def test_share_of_unscored_candidates_stops_the_stage_with_counts_and_the_fix():
    table = scored(Verdict(1.0), Verdict(None, "parse"), Verdict(None, "parse"), Verdict(None, "timeout"))
    with pytest.raises(RuntimeError, match=r"3 of 4 .*75\.0%; parse 2, timeout 1.*judging\.max_unscored"):
        check_scores(4, table, max_unscored=0.5)


def test_share_of_unscored_candidates_may_reach_its_limit():
    check_scores(2, scored(Verdict(1.0), Verdict(None, "parse")), max_unscored=0.5)


def test_lost_candidate_is_an_error():
    with pytest.raises(RuntimeError, match="lost or doubled candidates: 2 in, 1 score rows"):
        check_scores(2, scored(Verdict(1.0)), max_unscored=1.0)


def test_candidate_scored_twice_is_an_error():
    once = scored(Verdict(1.0))
    with pytest.raises(RuntimeError, match=r"2 score rows .* of 1 distinct"):
        check_scores(2, pa.concat_tables([once, once]), max_unscored=1.0)
