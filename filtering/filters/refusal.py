"""Drop pairs in which an answer refuses although its prompt is harmless, and cap the share of refusing chosen answers.

An answer refuses if it begins with an English formula of `filtering.refusals` and is short: a long one helps after all.
A refusal is a fault only where the prompt is harmless, so the filter does not guess. Of 1,200 pairs of HH-RLHF's
harmless-base 33 have a refusing chosen answer beside one that does not, and 29 of these refuse something harmful:
dropping them would teach to comply. Of 805 best-worst pairs over AlpacaEval's prompts, which are harmless, 2 have one.
So no preset drops them; a judge's scores of the prompts, or the user's word that all are harmless, say where it is one.

Left out: a judge's reading of the answer itself; the list misses refusals without a formula, such as a change of topic.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self  # Any: JSON values

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator, model_validator

from filtering.checksums import file_checksum
from filtering.filter import HOW, Facts, Filter, FilterConfig
from filtering.measured import Bools, Measured
from filtering.ranks import cap_share
from filtering.refusals import HEAD_CHARS, REFUSAL_START
from filtering.score_file import read_scores

Case = Literal["chosen_refuses", "rejected_refuses", "both_refuse"]


class RefusalConfig(FilterConfig, frozen=True):
    """Drop pairs with an answer that refuses what a harmless prompt asks for."""

    name: Literal["refusal"]
    drop: tuple[Case, ...] = ("chosen_refuses",)
    """Which pairs on harmless prompts are dropped: those in which the chosen answer alone refuses, the rejected one
    alone (a contrast too easy to teach much), or both (nothing to learn)."""
    prompts: Literal["benign", "all"] = "benign"
    """Which prompts are taken for harmless: those that `benign_scores` says, or all, which is wrong for safety data."""
    benign_scores: Path | None = Field(default=None, json_schema_extra=HOW)
    """Parquet with `prompt_id` and `score` of a judge, higher for more harmless; a prompt without a score is not."""
    min_benign: float = Field(default=0.5, allow_inf_nan=False)
    """Lowest score of a harmless prompt, in the judge's unit; of several scores of a prompt the mean counts."""
    max_chars: int = Field(default=500, ge=1)
    """Longest refusal; longer answers that begin like one mostly help after all."""
    max_share: float | None = Field(default=None, ge=0, lt=1)
    """Highest share of chosen answers that refuse among the pairs that this filter keeps, whatever the prompt: those
    with the largest margins stay; null sets no limit."""
    more_patterns: tuple[str, ...] = ()
    """Further regular expressions (RE2) for how refusals begin, for other languages; `^` is the start of the answer."""

    @field_validator("benign_scores")
    @classmethod
    def _is_a_file(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError(f"{path} is not a file: give a Parquet file of scores")
        return path

    @field_validator("more_patterns")
    @classmethod
    def _are_regular_expressions(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                pc.match_substring_regex(pa.array([""]), pattern)
            except pa.ArrowInvalid as error:
                raise ValueError(f"{pattern!r} is no regular expression that RE2 knows: {error}") from error
        return patterns

    @model_validator(mode="after")
    def _knows_its_prompts(self) -> Self:
        if self.drop and self.prompts == "benign" and self.benign_scores is None:
            raise ValueError(
                f"drop is {list(self.drop)}, but nothing says which prompts are harmless: give benign_scores, or set "
                "prompts to all if every prompt is, or set drop to [] and max_share"
            )
        if self.benign_scores is not None and self.prompts == "all":
            raise ValueError("prompts is all, so benign_scores would not be read: leave one of them out")
        if not self.drop and self.max_share is None:
            raise ValueError("drop is [] and max_share is null: nothing would be dropped, so leave the filter out")
        return self


def measure(pairs: pa.Table, config: RefusalConfig) -> pa.Table:
    """Look for refusals at the start of both texts, count their characters and look up the prompts' scores."""
    facts = dict[str, pa.ChunkedArray | np.ndarray]()
    for side in ("chosen", "rejected"):
        facts[f"{side}_refuses"] = _refuses(pairs[side], config.more_patterns)
        facts[f"{side}_chars"] = pc.utf8_length(pc.utf8_trim_whitespace(pairs[side]))
    if config.benign_scores is not None:
        scores = _read_scores(config.benign_scores, file_checksum(config.benign_scores))
        known = (scores.get(prompt_id, np.nan) for prompt_id in pairs["prompt_id"].to_pylist())
        facts["benign"] = np.fromiter(known, np.float64, len(pairs))
    return pa.table(facts)


def decide(facts: Facts, config: RefusalConfig) -> list[Measured]:
    """Drop the cases asked for on harmless prompts, then the refusals above the cap with the smallest margins."""
    chosen, rejected = (_is_short_refusal(facts, side, config.max_chars) for side in ("chosen", "rejected"))
    is_harmless = np.ones(len(facts), dtype=bool)
    if config.benign_scores is not None:
        is_harmless = facts["benign"] >= config.min_benign  # not so for NaN
    cases: dict[Case, Bools] = {
        "chosen_refuses": chosen & ~rejected,
        "rejected_refuses": rejected & ~chosen,
        "both_refuse": chosen & rejected,
    }
    found = [Measured(~(cases[case] & is_harmless), None, None, case, _context(case)) for case in config.drop]
    if config.max_share is not None:
        left = np.logical_and.reduce([one.keep for one in found] or [np.ones(len(facts), dtype=bool)])
        n_others = int((left & ~chosen).sum())
        found.append(cap_share(chosen & left, n_others, facts.best_first, config.max_share, "refusal_share", "chosen"))
    return found


def _context(case: Case) -> Literal["chosen", "rejected"]:
    return "rejected" if case == "rejected_refuses" else "chosen"


def _is_short_refusal(facts: Facts, side: str, max_chars: int) -> Bools:
    return facts[f"{side}_refuses"] & (facts[f"{side}_chars"] <= max_chars)


def _refuses(texts: pa.ChunkedArray, more_patterns: tuple[str, ...]) -> pa.ChunkedArray:
    heads = pc.utf8_slice_codeunits(pc.utf8_ltrim_whitespace(texts), 0, HEAD_CHARS)
    found = pc.match_substring_regex(heads, REFUSAL_START)
    for pattern in more_patterns:
        found = pc.or_(found, pc.match_substring_regex(heads, pattern))
    return found


def _measured_by(config: RefusalConfig) -> dict[str, Any]:
    scores = None if config.benign_scores is None else file_checksum(config.benign_scores)
    return {"more_patterns": config.more_patterns, "benign_scores": scores}


@lru_cache(maxsize=2)  # a process measures many shards
def _read_scores(path: Path, _: str) -> dict[str, float]:
    table = read_scores(path, "refusal.benign_scores", "prompt_id")
    means = table.group_by("prompt_id").aggregate([("score", "mean")]).drop_null()
    return dict(zip(means["prompt_id"].to_pylist(), means["score_mean"].to_pylist(), strict=True))


REFUSAL = Filter(RefusalConfig, ("prompt_id", "chosen", "rejected"), measure, decide, _measured_by)
