"""The stages' tables in, the few rows and counts that a report shows out."""

from collections import Counter

import numpy as np
import pyarrow as pa

from evaluation.run_report import AnswerSample, DropCount, MetricPoint, PairSample


def sample_pairs(pairs: pa.Table, n: int, seed: int) -> list[PairSample]:
    """Draw at most `n` pairs without replacement (`judging.schema.PAIRS`)."""
    return [
        PairSample(
            prompt=prompt_text(row["messages"]),
            chosen=row["chosen"],
            rejected=row["rejected"],
            chosen_score=row["chosen_score"],
            rejected_score=row["rejected_score"],
        )
        for row in _draw(pairs.sort_by("pair_id"), n, seed)
    ]


def sample_answers(verdicts: pa.Table, prompts: pa.Table, n: int, seed: int) -> list[AnswerSample]:
    """Draw at most `n` held-out prompts with both policies' first answers.

    Args:
        verdicts: `evaluation.schema.VERDICTS` of one judge.
        prompts: `generation.schema.PROMPTS` with at least the drawn prompts.
        n: Most samples.
        seed: The same seed and prompts give the same samples in every round.

    Raises:
        KeyError: When a drawn prompt is missing in `prompts`.
    """
    messages = dict(zip(prompts["prompt_id"].to_pylist(), prompts["messages"].to_pylist(), strict=True))
    return [
        AnswerSample(
            prompt=prompt_text(messages[row["prompt_id"]]),
            before=row["old_text"],
            after=row["new_text"],
            before_score=row["old_score"],
            after_score=row["new_score"],
        )
        for row in _draw(verdicts.sort_by("prompt_id"), n, seed)
    ]


def drop_counts(drops: pa.Table) -> list[DropCount]:
    """Count drops by stage, step and reason (`generation.schema.DROPS`), the most frequent first."""
    columns = [drops[name].to_pylist() for name in ("kind", "stage", "step", "reason")]
    counts = Counter(zip(*columns, strict=True))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [DropCount(kind, stage, step, reason, n) for (kind, stage, step, reason), n in ordered]


def metric_points(metrics: pa.Table) -> list[MetricPoint]:
    """Take over what training logged (`training.schema.METRICS`)."""
    return [MetricPoint(row["step"], row["name"], row["value"]) for row in metrics.to_pylist()]


def prompt_text(messages: list[dict[str, str]]) -> str:
    """Show a conversation as text: a lone user message as it is, anything longer with its roles."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in messages)


def _draw(table: pa.Table, n: int, seed: int) -> list[dict]:
    rows = np.random.default_rng(seed).permutation(table.num_rows)[:n]
    return table.take(rows).to_pylist()
