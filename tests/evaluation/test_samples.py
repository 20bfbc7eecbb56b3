"""Rows and counts that a report shows."""

import pyarrow as pa
import pytest

from evaluation.run_report import AnswerSample, DropCount, MetricPoint, PairSample
from evaluation.samples import drop_counts, metric_points, prompt_text, sample_answers, sample_pairs

MESSAGES = [{"role": "user", "content": "Review it."}]
PAIRS = pa.table(
    {
        "pair_id": [f"pair{i}" for i in range(20)],
        "messages": [MESSAGES] * 20,
        "chosen": [f"good {i}" for i in range(20)],
        "rejected": [f"bad {i}" for i in range(20)],
        "chosen_score": [2.0] * 20,
        "rejected_score": [1.0] * 20,
    }
)


def test_same_seed_draws_the_same_pairs_whatever_the_order_of_rows():
    reordered = PAIRS.take(list(reversed(range(20))))
    drawn = sample_pairs(PAIRS, 3, seed=0)
    assert drawn == sample_pairs(reordered, 3, seed=0)
    assert len(set(drawn)) == 3


def test_fewer_pairs_than_asked_are_all_shown():
    assert sample_pairs(PAIRS.slice(4, 1), 3, seed=0) == [PairSample("Review it.", "good 4", "bad 4", 2.0, 1.0)]


def test_answers_are_joined_with_their_prompt_by_id():
    verdicts = pa.table(
        {"prompt_id": ["q"], "old_text": ["old"], "new_text": ["new"], "old_score": [0.5],
         "new_score": pa.array([None], pa.float64())}
    )  # fmt: skip
    prompts = pa.table({"prompt_id": ["p", "q"], "messages": [[{"role": "user", "content": "No."}], MESSAGES]})
    assert sample_answers(verdicts, prompts, 5, seed=0) == [AnswerSample("Review it.", "old", "new", 0.5, None)]
    with pytest.raises(KeyError):
        sample_answers(verdicts, prompts.slice(0, 1), 5, seed=0)


def test_conversation_of_several_messages_is_shown_with_its_roles():
    assert prompt_text([{"role": "system", "content": "Be brief."}, *MESSAGES]) == (
        "[system]\nBe brief.\n\n[user]\nReview it."
    )


def test_drops_are_counted_by_reason_the_most_frequent_first():
    drops = pa.table(
        {
            "kind": ["pair", "prompt", "pair"],
            "stage": ["filtering", "pairing", "filtering"],
            "step": ["length", "best_worst", "length"],
            "reason": ["too_long", "tie", "too_long"],
        }
    )
    assert drop_counts(drops) == [
        DropCount("pair", "filtering", "length", "too_long", 2),
        DropCount("prompt", "pairing", "best_worst", "tie", 1),
    ]


def test_metrics_are_taken_over_row_by_row():
    assert metric_points(pa.table({"step": [1], "name": ["loss"], "value": [0.69]})) == [MetricPoint(1, "loss", 0.69)]
