import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filtering.filtering import filter_pairs
from filtering.filters.second_annotator import SECOND_ANNOTATOR, SecondAnnotatorConfig, measure
from judging.schema import PAIRS, SCORES


@pytest.fixture
def annotate(tmp_path):
    """Write the other judge's scores by candidate, and give a config that names them."""

    def write(scores, **fields):
        rows = [{"candidate_id": id, "score": score, "judge": "second"} for id, score in scores.items()]
        pq.write_table(pa.Table.from_pylist(rows, schema=SCORES), tmp_path / "scores.parquet")
        return SecondAnnotatorConfig(name="second_annotator", scores=tmp_path / "scores.parquet", **fields)

    return write


def pairs(*sides):
    records = [
        {"pair_id": f"id{row}", "messages": [], "chosen": "x", "rejected": "y", "chosen_id": one, "rejected_id": other}
        for row, (one, other) in enumerate(sides)
    ]
    return pa.Table.from_pylist(records, schema=PAIRS)


def dropped(config, *sides):
    rows = filter_pairs(pairs(*sides), [config]).drops.to_pylist()
    return {int(row["id"][2:]): (row["reason"], row["value"], row["threshold"]) for row in rows}


def test_pairs_that_the_other_judge_turns_around_or_ties_are_dropped(annotate):
    config = annotate({"a": 2.0, "b": 1.0, "c": 1.0})
    assert dropped(config, ("a", "b"), ("b", "a"), ("b", "c")) == {
        1: ("second_annotator_disagrees", -1.0, 0.0),
        2: ("second_annotator_disagrees", 0.0, 0.0),
    }


def test_other_judges_margin_may_have_to_be_larger(annotate):
    config = annotate({"a": 2.0, "b": 1.0, "c": 0.5}, min_margin=1.0)
    assert dropped(config, ("a", "b"), ("a", "c")) == {0: ("second_annotator_disagrees", 1.0, 1.0)}


def test_unscored_pairs_pass_and_are_counted_unless_they_are_asked_for(annotate, caplog):
    scores = {"a": 2.0, "b": None, "c": 1.0}
    sides = [("a", "c"), ("a", "b"), ("a", "unheard of"), (None, None)]
    assert dropped(annotate(scores), *sides) == {}
    assert "has no scores of 3 of 4 pairs: keep" in caplog.text
    strict = dropped(annotate(scores, unscored="drop"), *sides)
    assert strict == dict.fromkeys((1, 2, 3), ("second_annotator_unscored", None, None))


def test_margin_limit_may_change_without_measuring_again_and_scores_not(annotate):
    first = SECOND_ANNOTATOR.measured_by(annotate({"a": 1.0}))
    assert SECOND_ANNOTATOR.measured_by(annotate({"a": 1.0}, min_margin=3.0, unscored="drop")) == first
    assert SECOND_ANNOTATOR.measured_by(annotate({"a": 2.0})) != first


def test_changed_scores_are_read_again(annotate):
    assert dropped(annotate({"a": 1.0, "b": 2.0}), ("a", "b")) != {}
    assert dropped(annotate({"a": 3.0, "b": 2.0}), ("a", "b")) == {}


def test_table_without_scores_scores_nothing(annotate):
    assert dropped(annotate({}), ("a", "b")) == {}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"candidate_id": ["a"]}, r"scores\.parquet has no column score; it has candidate_id"),
        ({"score": [1.0], "id": ["a"]}, r"has no column candidate_id; it has score, id"),
        ({"candidate_id": ["a", "a"], "score": [1.0, 2.0]}, "2 rows hold 1 candidates: keep the scores of one judge"),
        ({"candidate_id": ["a"], "score": ["good"]}, "the column score holds string: give numbers"),
        ({"candidate_id": ["a", None], "score": [1.0, 2.0]}, "candidate_id holds string with 1 nulls: give texts"),
        ({"candidate_id": [1], "score": [1.0]}, "candidate_id holds int64 with 0 nulls: give texts"),
        ({"candidate_id": ["a"], "score": [math.inf]}, "a score is infinite"),
    ],
)
def test_table_that_holds_no_scores_names_what_is_wrong(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    config = SecondAnnotatorConfig(name="second_annotator", scores=tmp_path / "scores.parquet")
    with pytest.raises(ValueError, match=f"second_annotator.scores: .*{message}"):
        measure(pairs(("a", "b")), config)


def test_file_that_is_no_table_is_an_error(tmp_path):
    (tmp_path / "scores.parquet").write_text("a,1")
    config = SecondAnnotatorConfig(name="second_annotator", scores=tmp_path / "scores.parquet")
    with pytest.raises(ValueError, match=r"second_annotator\.scores: .* is no Parquet file that can be read"):
        measure(pairs(("a", "b")), config)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scores": "nowhere.parquet"}, r"nowhere\.parquet is not a file: give a Parquet file of scores"),
        ({"scores": __file__, "min_margin": -1.0}, "min_margin\n.*greater than or equal to 0"),
        ({"scores": __file__, "min_margin": math.nan}, "min_margin\n"),
        ({}, "scores\n.*required"),
    ],
)
def test_wrong_config_names_the_field(fields, message):
    with pytest.raises(ValidationError, match=message):
        SecondAnnotatorConfig(name="second_annotator", **fields)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from("abcde"), st.none() | st.floats(-5, 5)),
    st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("abcde")), max_size=8),
    st.sampled_from(["keep", "drop"]),
)
def test_every_pair_is_kept_or_dropped_for_itself_and_twice_changes_nothing(annotate, scores, sides, unscored):
    config = annotate(scores, unscored=unscored)
    tables = filter_pairs(pairs(*sides), [config])
    agreeing = 0
    for one, other in sides:
        known = scores.get(one) is not None and scores.get(other) is not None
        agreeing += scores[one] > scores[other] if known else unscored == "keep"
    assert (len(tables.kept), len(tables.drops)) == (agreeing, len(sides) - agreeing)
    assert filter_pairs(tables.kept, [config]).drops.num_rows == 0
