"""A judge and answers in, the same judge's scores of those answers and of probes made from them out.

Probes are candidates like others: they get ids of their own and are judged in one job with the real answers. A judge
that compares answers sees each probe in a copy of the prompt, which has the prompt's messages and another id.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any  # rows of tables

import numpy as np
import pyarrow as pa

from flows.judge_alone import judge_alone
from generation.identity import imported_candidate_id
from generation.schema import CANDIDATES, PROMPTS
from judging.asking.quoting import digest
from judging.audit.audit_probes import AGAIN, ANSWERS, Answer, Entry, lay_out_apart, lay_out_together
from judging.config import JudgeConfig

_POLICY = "audit"  # what probes name as the policy that wrote them


@dataclass(frozen=True)
class Asked:
    """One answer that a judge is asked about.

    Attributes:
        prompt: Number of the real prompt.
        entry: What it is.
        candidate_id: Its id in the scores.
    """

    prompt: int
    entry: Entry
    candidate_id: str


@dataclass(frozen=True)
class Layout:
    """Everything that a judge is asked.

    Attributes:
        prompts: Table of `PROMPTS`: the real ones and their copies.
        candidates: Table of `CANDIDATES`: real answers, the same again, and probes.
        asked: What each candidate is, in the order of `candidates`.
        prompt_ids: The real prompts by number.
    """

    prompts: pa.Table
    candidates: pa.Table
    asked: list[Asked]
    prompt_ids: list[str]


@dataclass
class _Rows:
    prompts: dict[str, dict[str, Any]] = field(default_factory=dict)
    candidates: list[dict[str, Any]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)


def choose_prompts(candidates: pa.Table, limit: int | None, seed: int, min_answers: int = 1) -> list[str]:
    """Draw prompts that have answers; a larger limit adds to a smaller one's.

    Args:
        candidates: Table of `CANDIDATES`.
        limit: At most so many; None = all.
        seed: Of the draw.
        min_answers: Answers that a prompt must have: 2 for a judge that compares.

    Raises:
        ValueError: No prompt has so many.
    """
    counts = Counter(candidates["prompt_id"].to_pylist())
    found = [prompt_id for prompt_id, count in counts.items() if count >= min_answers]
    if not found:
        raise ValueError(
            f"none of {len(counts)} prompts has {min_answers} answers or more: this judge compares answers to the same "
            "prompt, so give it several"
            if counts
            else "there is no answer to audit the judge with: the file is empty"
        )
    return sorted(found, key=lambda prompt_id: digest("audited", f"{seed} {prompt_id}"))[:limit]


def lay_out(
    prompts: pa.Table, candidates: pa.Table, chosen: Sequence[str], *, probes: str, seed: int, best: str
) -> Layout:
    """Lay out what a judge is to be asked.

    Args:
        prompts: Table of `PROMPTS` with the prompt of every candidate.
        candidates: Table of `CANDIDATES`.
        chosen: Ids of the prompts to ask about.
        probes: together, apart (for a judge that compares answers) or none (for one that can't be asked).
        seed: Chooses the answers that probes are made from.
        best: The judge's highest rating.

    Raises:
        ValueError: A candidate's prompt or text is missing.
    """
    wanted = set(chosen)
    by_id = {row["prompt_id"]: row for row in prompts.to_pylist() if row["prompt_id"] in wanted}
    if missing := [prompt_id for prompt_id in chosen if prompt_id not in by_id]:
        raise ValueError(
            f"{len(missing)} of {len(chosen)} prompts with answers are missing, the first is {missing[0]}: give those "
            "that the answers were sampled for (--prompts)"
        )
    answers: dict[str, list[dict[str, Any]]] = {prompt_id: [] for prompt_id in chosen}
    for row in candidates.to_pylist():
        if row["text"] is None:
            raise ValueError(f"candidate {row['candidate_id']} has no text: leave it out, or give its `text`")
        if row["prompt_id"] in wanted:
            answers[row["prompt_id"]].append(row)
    rows = _Rows()
    for number, prompt_id in enumerate(chosen):
        real = [Answer(row["candidate_id"], row["text"]) for row in answers[prompt_id]]
        entries = _lay_entries(real, probes, seed, best)
        _lay_rows(rows, by_id[prompt_id], answers[prompt_id], number, entries)
    return Layout(
        pa.Table.from_pylist(list(rows.prompts.values()), schema=PROMPTS),
        pa.Table.from_pylist(rows.candidates, schema=CANDIDATES),
        rows.asked,
        list(chosen),
    )


def _lay_entries(real: list[Answer], probes: str, seed: int, best: str) -> list[Entry]:
    match probes:
        case "together":
            return lay_out_together(real, seed, best)
        case "apart":
            return lay_out_apart(real, seed, best)
        case _:
            return [Entry(ANSWERS, "answer", "", one.candidate_id, one.text) for one in real]


def _lay_rows(
    rows: _Rows, prompt: dict[str, Any], answers: list[dict[str, Any]], number: int, entries: list[Entry]
) -> None:
    """Add one prompt with its copies, and what is judged with each."""
    sources = {row["candidate_id"]: row for row in answers}
    for entry in entries:
        copy = prompt["prompt_id"] if entry.group == ANSWERS else digest("copy", f"{prompt['prompt_id']} {entry.group}")
        rows.prompts.setdefault(copy, prompt | {"prompt_id": copy})
        row = _candidate(entry, copy, sources)
        rows.candidates.append(row | {"prompt_id": copy})
        rows.asked.append(Asked(number, entry, row["candidate_id"]))


def _candidate(entry: Entry, prompt_id: str, sources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Make an entry's row; a real answer stays as it is but for its id in a copy."""
    if entry.kind == "answer" and entry.group == ANSWERS:
        return sources[str(entry.source_id)]
    what = f"{_POLICY} {entry.kind} {entry.name} {entry.source_id}"
    own_id = {"candidate_id": imported_candidate_id(prompt_id, what, entry.text)}
    if entry.kind in ("answer", "again"):
        return sources[str(entry.source_id)] | own_id
    return own_id | {"sample_index": 0, "text": entry.text, "policy": _POLICY}


@dataclass(frozen=True)
class Judged:
    """What a judge said.

    Attributes:
        layout: What it was asked.
        scores: Table of `judging.schema.SCORES`, in the order of the layout's candidates.
        values: The scores, NaN where there is none, shape `(asked,)`.
    """

    layout: Layout
    scores: pa.Table
    values: np.ndarray

    def rows(self, group: str) -> np.ndarray:
        """Give the rows of a group's real answers."""
        asked = enumerate(self.layout.asked)
        return np.array([row for row, one in asked if one.entry.group == group and not one.entry.name], dtype=int)

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        """Give the prompts' numbers of some rows."""
        return np.array([self.layout.asked[row].prompt for row in rows], dtype=int)

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Give the lengths of some rows' texts, in characters."""
        return np.array([len(self.layout.asked[row].entry.text) for row in rows], dtype=float)

    def again(self) -> np.ndarray:
        """Give the second score of each real answer, in the order of `rows(ANSWERS)`; NaN where there is none."""
        second = {self.layout.asked[row].entry.source_id: self.values[row] for row in self.rows(AGAIN)}
        asked = self.layout.asked
        return np.array([second.get(asked[row].entry.source_id, np.nan) for row in self.rows(ANSWERS)])


def ask(folder: Path, layout: Layout, config: JudgeConfig, judge_field: str, replies: Path) -> Judged:
    """Have a judge score what is laid out; resumable in `folder`."""
    scores = _score(folder, layout, config, judge_field, replies)
    place = {candidate_id: row for row, candidate_id in enumerate(scores["candidate_id"].to_pylist())}
    ordered = scores.take([place[one.candidate_id] for one in layout.asked])
    values = np.array([np.nan if score is None else score for score in ordered["score"].to_pylist()])
    return Judged(layout, ordered, values)


def _score(folder: Path, layout: Layout, config: JudgeConfig, judge_field: str, replies: Path) -> pa.Table:
    return judge_alone(
        folder, layout.prompts, layout.candidates, config,
        field=judge_field, replies=replies, max_unscored=1.0,  # how many are unscored is a finding, not an end
    )  # fmt: skip
