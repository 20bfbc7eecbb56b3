"""Two policies' scored answers to the same held-out prompts in, win rate, score difference and verdicts out.

Every (new, old) pair of answers to a prompt is a duel: the higher score wins, equal scores are half a win each. A
prompt's `p_win` is the mean over its duels, the win rate the mean over prompts, and intervals resample prompts.
Unscored answers fight no duel; they are counted and never become a zero. Prompts that one policy alone has answered
(an engine may give one up) are left out and counted.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from evaluation.answers import ScoredAnswers
from evaluation.bootstrap import Interval, bootstrap_mean
from evaluation.schema import VERDICTS


@dataclass(frozen=True)
class Comparison:
    """How the new policy fares against the old one in the eyes of one judge."""

    judge: str
    win_rate: Interval
    """Share of duels won by the new policy, ties half."""
    score_delta: Interval
    """Mean score of the new policy's answers minus that of the old one's, prompt by prompt."""
    new_mean: float
    """Mean over the compared prompts of the mean score of the new policy's answers."""
    old_mean: float
    pass_new: float | None
    """Share of the new policy's answers at or above the pass score; None without a pass score."""
    pass_old: float | None
    new_length: float
    """Mean length of the new policy's answers in `length_unit`, unscored answers included."""
    old_length: float
    length_ratio: float
    """new_length / old_length."""
    length_unit: Literal["tokens", "characters"]
    """What lengths were measured in: characters where any answer's tokens are unknown."""
    n_prompts: int
    """Prompts with a scored answer on both sides, the ones that count."""
    n_unscored: int
    """Prompts left out, for one side has no scored answer."""
    n_one_sided: int
    """Prompts left out of everything, for one policy has no answer to them at all."""
    n_unscored_answers: int
    """Answers without a score, both policies together."""
    verdicts: pa.Table
    """One row a prompt, unscored ones included (`evaluation.schema.VERDICTS`)."""


def compare(
    new: ScoredAnswers, old: ScoredAnswers, judge_name: str, pass_score: float | None, n_bootstrap: int, seed: int
) -> Comparison:
    """Compare two policies on the prompts both have answered; swapping them mirrors every figure.

    Args:
        new: Answers of the policy that wants to replace the old one.
        old: Answers of the last good policy.
        judge_name: Whose scores these are.
        pass_score: Answers that score at least this count as passed; None leaves pass shares out.
        n_bootstrap: Resamples of prompts behind each interval.
        seed: Seed of the resamples.

    Raises:
        ValueError: When no prompt was answered by both policies, or none is scored on both sides.
    """
    both, n_one_sided = _shared_prompts(new, old)
    new, old = _take_prompts(new, both), _take_prompts(old, both)
    new_side, old_side = _by_prompt(new, pass_score), _by_prompt(old, pass_score)
    p_win = _win_shares(new_side, old_side)
    compared = ~np.isnan(p_win)
    lengths = _lengths(new, old)
    has_pass = pass_score is not None
    return Comparison(
        judge=judge_name,
        win_rate=bootstrap_mean(p_win, n_bootstrap, seed),
        score_delta=bootstrap_mean(new_side.score - old_side.score, n_bootstrap, seed),
        new_mean=float(new_side.score[compared].mean()),
        old_mean=float(old_side.score[compared].mean()),
        pass_new=float(new_side.passed[compared].mean()) if has_pass else None,
        pass_old=float(old_side.passed[compared].mean()) if has_pass else None,
        new_length=lengths.new,
        old_length=lengths.old,
        length_ratio=lengths.ratio,
        length_unit=lengths.unit,
        n_prompts=int(compared.sum()),
        n_unscored=int((~compared).sum()),
        n_one_sided=n_one_sided,
        n_unscored_answers=int(np.isnan(new.score).sum() + np.isnan(old.score).sum()),
        verdicts=_verdicts(new_side, old_side, p_win, judge_name),
    )


def _shared_prompts(new: ScoredAnswers, old: ScoredAnswers) -> tuple[np.ndarray, int]:
    """Give the prompts that both have answered, and how many only one has."""
    both = np.intersect1d(new.prompt_id, old.prompt_id)
    n_one_sided = np.setxor1d(new.prompt_id, old.prompt_id).size
    if not both.size:
        raise ValueError(
            f"no prompt was answered by both policies, {n_one_sided} by one of them; both must answer the same "
            "held-out prompts"
        )
    return both, n_one_sided


def _take_prompts(answers: ScoredAnswers, prompts: np.ndarray) -> ScoredAnswers:
    taken = np.isin(answers.prompt_id, prompts)
    return ScoredAnswers(**{name: column[taken] for name, column in vars(answers).items()})


@dataclass(frozen=True)
class _Side:
    """One policy's answers grouped by prompt; arrays of shape `(prompts,)` unless said."""

    answers: ScoredAnswers
    prompts: np.ndarray
    group: np.ndarray  # (answers,), the answer's index into prompts
    first: np.ndarray  # index of the prompt's first answer
    n_scored: np.ndarray
    score: np.ndarray  # mean over scored answers, NaN = none
    passed: np.ndarray  # share of scored answers, NaN = none scored or no pass score
    tokens: np.ndarray  # mean, NaN = unknown


def _by_prompt(answers: ScoredAnswers, pass_score: float | None) -> _Side:
    prompts, first, group = np.unique(answers.prompt_id, return_index=True, return_inverse=True)
    scored = ~np.isnan(answers.score)
    n_scored = np.bincount(group, weights=scored, minlength=prompts.size)
    passed = np.full(answers.score.shape, np.nan) if pass_score is None else answers.score >= pass_score
    with np.errstate(invalid="ignore"):
        return _Side(
            answers=answers,
            prompts=prompts,
            group=group,
            first=first,
            n_scored=n_scored,
            score=np.bincount(group, weights=np.where(scored, answers.score, 0), minlength=prompts.size) / n_scored,
            passed=np.bincount(group, weights=np.where(scored, passed, 0), minlength=prompts.size) / n_scored,
            tokens=np.bincount(group, weights=answers.n_tokens) / np.bincount(group),
        )


def _win_shares(new: _Side, old: _Side) -> np.ndarray:
    """Share of duels the new policy wins, shape `(prompts,)`; NaN where a side has no scored answer."""
    values, rank = np.unique(np.concatenate([new.answers.score, old.answers.score]), return_inverse=True)
    new_scored, old_scored = ~np.isnan(new.answers.score), ~np.isnan(old.answers.score)
    n_new = new.answers.score.size
    # prompt and rank in one integer: sorted, all duels of all prompts are counted by four binary searches
    new_key = (new.group * values.size + rank[:n_new])[new_scored]
    old_key = np.sort((old.group * values.size + rank[n_new:])[old_scored])
    group = new.group[new_scored]
    lower = np.searchsorted(old_key, new_key, "left") - np.searchsorted(old_key, group * values.size, "left")
    tied = np.searchsorted(old_key, new_key, "right") - np.searchsorted(old_key, new_key, "left")
    won = np.bincount(group, weights=lower + 0.5 * tied, minlength=new.prompts.size)
    with np.errstate(invalid="ignore"):
        return won / (new.n_scored * old.n_scored)


@dataclass(frozen=True)
class _Lengths:
    new: float
    old: float
    unit: Literal["tokens", "characters"]

    @property
    def ratio(self) -> float:
        if self.old == 0:
            return 1.0 if self.new == 0 else float("inf")
        return self.new / self.old


def _lengths(new: ScoredAnswers, old: ScoredAnswers) -> _Lengths:
    """Mean lengths over all answers: a judge that leaves the longest ones unscored must not hide them."""
    if np.isnan(new.n_tokens).any() or np.isnan(old.n_tokens).any():
        return _Lengths(float(_characters(new).mean()), float(_characters(old).mean()), "characters")
    return _Lengths(float(new.n_tokens.mean()), float(old.n_tokens.mean()), "tokens")


def _characters(answers: ScoredAnswers) -> np.ndarray:
    return np.array([len(text) for text in answers.text], dtype=np.float64)


def _verdicts(new: _Side, old: _Side, p_win: np.ndarray, judge_name: str) -> pa.Table:
    columns = {
        "prompt_id": new.prompts.tolist(),
        "judge": [judge_name] * new.prompts.size,
        "new_text": new.answers.text[new.first].tolist(),
        "old_text": old.answers.text[old.first].tolist(),
        "new_score": new.score,
        "old_score": old.score,
        "p_win": p_win,
        "new_pass": new.passed,
        "old_pass": old.passed,
        "new_tokens": new.tokens,
        "old_tokens": old.tokens,
    }
    return pa.table([pa.array(columns[f.name], type=f.type, from_pandas=True) for f in VERDICTS], schema=VERDICTS)
