"""Candidates in, one score row each out, whatever the judge: the streaming stage that the shard mapper runs.

Rows are joined with their prompts by `prompt_id`, never by position.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any  # rows of tables

import pyarrow as pa
import pyarrow.compute as pc

from judging.judge import Item, Judge, Tag, Verdict
from judging.schema import SCORES

log = logging.getLogger(__name__)

BUDGET = "budget"  # the reason of rows that were not asked for because the budget is spent
_SHOWN_REPLIES = 3
_SHOWN_CHARS = 500


@dataclass
class Tally:
    """What judging has come to so far, in this process."""

    n_rows: int = 0
    n_unscored: int = 0
    n_tokens: int = 0
    cost: float = 0.0

    def add(self, verdict: Verdict) -> None:
        """Count one verdict."""
        self.n_rows += 1
        self.n_unscored += verdict.score is None
        self.n_tokens += (verdict.n_tokens_in or 0) + (verdict.n_tokens_out or 0)
        self.cost += verdict.cost or 0.0

    def describe(self, n_left: int) -> str:
        """Write the tokens, the unscored share and the cost, with what it will come to at this rate.

        Args:
            n_left: Rows still to be judged.
        """
        parts = [f"{self.n_tokens:,} tokens"] if self.n_tokens else []
        parts += [f"{self.n_unscored / self.n_rows:.1%} unscored"] if self.n_unscored else []
        if self.cost:
            parts.append(f"cost {self.cost:.2f} of about {self.cost * (1 + n_left / self.n_rows):.2f}")
        return ", ".join(parts)


class Scoring:
    """One judge applied to candidates.

    Args:
        judge: An open judge.
        name: The judge's name in the recipe, written to the column `judge`.
        prompts: Table of `generation.schema.PROMPTS` that holds the prompt of every candidate.
        with_ids: Whether the judge wants the answers' token ids, which are slow to take out of columns.
    """

    def __init__(self, judge: Judge, name: str, prompts: pa.Table, *, with_ids: bool = False) -> None:
        self.tally = Tally()
        self._with_ids = with_ids
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
        columns = {row: _read_meta(prompt) for row, prompt in prompts.items()}
        ids = [
            table[name].to_pylist() if self._with_ids else [None] * len(table) for name in ("token_ids", "tokenizer")
        ]
        return [
            Item(candidate_id, prompts[row]["prompt_id"], prompts[row]["messages"], text,
                 prompts[row]["reference_answer"], columns[row], token_ids, tokenizer)
            for candidate_id, text, row, token_ids, tokenizer in zip(
                table["candidate_id"].to_pylist(), table["text"].to_pylist(), where.to_pylist(), *ids, strict=True
            )
        ]  # fmt: skip

    def stream(self, tagged: Iterable[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Verdict]]:
        """Hand items to the judge as it asks for them."""
        for tag, verdict in self._judge.score(tagged):
            self.tally.add(verdict)
            yield tag, verdict

    def collect(self, table: pa.Table, items: list[Item], verdicts: list[Verdict]) -> dict[str, pa.Table]:
        """Turn the verdicts of one shard, in the order of its items, into its score rows."""
        if not len(table) == len(items) == len(verdicts):
            raise ValueError(f"{len(table)} candidates, {len(items)} items and {len(verdicts)} verdicts do not match")
        return {"part": scores_table(self._name, items, verdicts)}


def _read_meta(prompt: dict[str, Any]) -> dict[str, object]:
    try:
        columns = json.loads(prompt["meta"] or "{}")
    except ValueError:
        columns = None
    if not isinstance(columns, dict):
        raise ValueError(
            f"meta of prompt {prompt['prompt_id']} must be a JSON object of the source's other columns, got "
            f"{prompt['meta']!r:.200}"
        )
    return columns


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


def check_scores(n_candidates: int, scores: pa.Table, max_unscored: float) -> None:
    """Check that every candidate has one score row and that few enough are unscored.

    Args:
        n_candidates: Candidates that went into judging.
        scores: All score rows of one judge.
        max_unscored: Share in [0, 1] of the candidates that may stay unscored.

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
    if n_unscored > max_unscored * n_candidates:
        raise RuntimeError(
            f"{n_unscored} of {n_candidates} candidates stayed unscored ({n_unscored / n_candidates:.1%}; {counts}), "
            f"judging.max_unscored allows {max_unscored:.1%}: mend what the reasons name, or raise "
            f"judging.max_unscored to go on with the scored ones{_show_replies(scores)}"
        )


def _show_replies(scores: pa.Table) -> str:
    """Show the first few replies that gave no score, as they came."""
    unread = scores.filter(pc.and_(pc.is_null(scores["score"]), pc.is_valid(scores["raw_reply"])))
    rows = unread.slice(0, _SHOWN_REPLIES).select(["candidate_id", "reason", "raw_reply"]).to_pylist()
    shown = [f"{row['candidate_id']}, {row['reason']}: {row['raw_reply'][:_SHOWN_CHARS]!r}" for row in rows]
    return "\n".join(["; the first replies without a score:", *shown]) if shown else ""


def _count_reasons(scores: pa.Table) -> str:
    reasons = scores.filter(pc.is_null(scores["score"]))["reason"].value_counts().to_pylist()
    ordered = sorted(reasons, key=lambda row: (-row["counts"], row["values"]))
    return ", ".join(f"{row['values']} {row['counts']}" for row in ordered)
