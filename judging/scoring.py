"""Candidates in, one score row each out, whatever the judge: the streaming stage that the shard mapper runs.

Rows are joined with their prompts by `prompt_id`, never by position.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

import pyarrow as pa
import pyarrow.compute as pc

from judging.judge import Item, Judge, Tag, Verdict
from judging.schema import SCORES

log = logging.getLogger(__name__)


class Scoring:
    """One judge applied to candidates.

    Args:
        judge: An open judge.
        name: The judge's name in the recipe, written to the column `judge`.
        prompts: Table of `generation.schema.PROMPTS` that holds the prompt of every candidate.
    """

    def __init__(self, judge: Judge, name: str, prompts: pa.Table) -> None:
        self._judge = judge
        self._name = name
        self._prompts = prompts.select(["prompt_id", "messages", "reference_answer", "meta"])

    def items(self, table: pa.Table) -> list[Item]:
        """Join candidates with their prompts, in the order of the candidates.

        Raises:
            ValueError: If the prompt of a candidate is missing.
        """
        where = pc.index_in(table["prompt_id"], value_set=self._prompts["prompt_id"])
        if where.null_count:
            missing = table.filter(pc.is_null(where))
            raise ValueError(
                f"{len(missing)} of {len(table)} candidates have no prompt, the first is {missing['candidate_id'][0]} "
                f"with prompt_id {missing['prompt_id'][0]}: judge them with the prompts they were sampled for"
            )
        distinct = pc.unique(where)
        prompts = dict(zip(distinct.to_pylist(), self._prompts.take(distinct).to_pylist(), strict=True))
        columns = {row: json.loads(prompt["meta"] or "{}") for row, prompt in prompts.items()}
        return [
            Item(candidate_id, prompts[row]["prompt_id"], prompts[row]["messages"], text,
                 prompts[row]["reference_answer"], columns[row])
            for candidate_id, text, row in zip(
                table["candidate_id"].to_pylist(), table["text"].to_pylist(), where.to_pylist(), strict=True
            )
        ]  # fmt: skip

    def stream(self, tagged: Iterable[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Verdict]]:
        """Hand items to the judge as it asks for them."""
        return self._judge.score(tagged)

    def collect(self, table: pa.Table, items: list[Item], verdicts: list[Verdict]) -> dict[str, pa.Table]:
        """Turn the verdicts of one shard, in the order of its items, into its score rows."""
        if not len(table) == len(items) == len(verdicts):
            raise ValueError(f"{len(table)} candidates, {len(items)} items and {len(verdicts)} verdicts do not match")
        return {"part": scores_table(self._name, items, verdicts)}


def scores_table(judge: str, items: Sequence[Item], verdicts: Sequence[Verdict]) -> pa.Table:
    """Write verdicts as score rows.

    Args:
        judge: The judge's name.
        items: What was judged.
        verdicts: The verdict on each item, in the same order.
    """
    columns: dict[str, list[object]] = {
        "candidate_id": [item.candidate_id for item in items],
        "prompt_id": [item.prompt_id for item in items],
        "judge": [judge] * len(items),
        "aspects": [None if verdict.aspects is None else list(verdict.aspects.items()) for verdict in verdicts],
    }
    for name in SCORES.names:
        if name not in columns:
            columns[name] = list(map(attrgetter(name), verdicts))
    return pa.table(columns, schema=SCORES)


def check_scores(n_candidates: int, scores: pa.Table, max_unscored_share: float) -> None:
    """Check that every candidate has one score row and that few enough are unscored.

    Args:
        n_candidates: Candidates that went into judging.
        scores: All score rows of one judge.
        max_unscored_share: Share in [0, 1] of the candidates that may stay unscored.

    Raises:
        RuntimeError: If candidates in != scored + unscored over distinct ids, or the share is passed.
    """
    n_unscored = scores["score"].null_count
    n_distinct = pc.count_distinct(scores["candidate_id"]).as_py()
    if not n_candidates == n_distinct == len(scores):
        raise RuntimeError(
            f"judging lost or doubled candidates: {n_candidates} in, {len(scores)} score rows "
            f"({len(scores) - n_unscored} scored + {n_unscored} unscored) of {n_distinct} distinct candidates out"
        )
    counts = _count_reasons(scores)
    log.info("scored %d of %d candidates, unscored: %s", n_candidates - n_unscored, n_candidates, counts or "none")
    if n_unscored > max_unscored_share * n_candidates:
        raise RuntimeError(
            f"{n_unscored} of {n_candidates} candidates stayed unscored ({n_unscored / n_candidates:.1%}; {counts}), "
            f"judging.max_unscored_share allows {max_unscored_share:.1%}: mend what the reasons name, or raise "
            "judging.max_unscored_share to go on with the scored ones"
        )


def _count_reasons(scores: pa.Table) -> str:
    reasons = scores.filter(pc.is_null(scores["score"]))["reason"].value_counts().to_pylist()
    ordered = sorted(reasons, key=lambda row: (-row["counts"], row["values"]))
    return ", ".join(f"{row['values']} {row['counts']}" for row in ordered)
