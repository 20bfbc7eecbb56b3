"""Candidates joined with their scores."""

import numpy as np
import pyarrow as pa
import pytest

from evaluation.answers import scored_answers

CANDIDATES = pa.table(
    {
        "candidate_id": ["c3", "c1", "c2"],
        "prompt_id": ["q", "p", "p"],
        "sample_index": pa.array([0, 1, 0], pa.int32()),
        "text": ["third", "first", "second"],
        "n_tokens": pa.array([3, None, 2], pa.int32()),
    }
)


def _scores(**by_id: float | None) -> pa.Table:
    return pa.table({"candidate_id": list(by_id), "score": pa.array(by_id.values(), pa.float64())})


def test_rows_are_joined_by_id_and_ordered_by_prompt_and_sample():
    answers = scored_answers(CANDIDATES, _scores(c1=0.1, c2=0.2, c3=0.3))
    assert answers.prompt_id.tolist() == ["p", "p", "q"]
    assert answers.text.tolist() == ["second", "first", "third"]
    assert answers.score.tolist() == [0.2, 0.1, 0.3]
    np.testing.assert_array_equal(answers.n_tokens, [2, np.nan, 3])


def test_null_score_stays_unscored():
    answers = scored_answers(CANDIDATES, _scores(c1=0.1, c2=None, c3=0.3))
    np.testing.assert_array_equal(answers.score, [np.nan, 0.1, 0.3])


def test_scores_of_other_candidates_are_ignored():
    answers = scored_answers(CANDIDATES, _scores(c1=0.1, c2=0.2, c3=0.3, other=9.0))
    assert answers.score.tolist() == [0.2, 0.1, 0.3]


def test_candidate_without_a_score_row_raises():
    with pytest.raises(ValueError, match="1 of 3 candidates have no row in scores"):
        scored_answers(CANDIDATES, _scores(c1=0.1, c2=0.2))


def test_scores_of_two_judges_raise():
    twice = pa.concat_tables([_scores(c1=0.1, c2=0.2, c3=0.3)] * 2)
    with pytest.raises(ValueError, match="scores has 6 rows but 3 candidate_ids"):
        scored_answers(CANDIDATES, twice)
