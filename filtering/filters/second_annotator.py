"""Drop pairs that another judge puts the other way round.

UltraMix (arXiv 2511.10985) drops, among others, pairs whose order a second reward model disagrees with: it is 30 %
smaller than the best single data set and trains better. The second judge's scores come from a table: `prefloop judge`
writes one for the same candidates.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal  # Any: JSON values

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from filtering.checksums import file_checksum
from filtering.filter import HOW, Facts, Filter, FilterConfig
from filtering.hashes import hash_texts
from filtering.measured import Floats, Measured
from filtering.score_file import read_scores

log = logging.getLogger(__name__)


class SecondAnnotatorConfig(FilterConfig, frozen=True):
    """Drop pairs whose chosen answer another judge does not find better."""

    name: Literal["second_annotator"]
    scores: Path = Field(json_schema_extra=HOW)
    """Parquet of the other judge's scores, with the columns candidate_id and score, each candidate once."""
    min_margin: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """The other judge's margin has to be above this, in units of its score; raising it drops more pairs."""
    unscored: Literal["keep", "drop"] = "keep"
    """What becomes of pairs that it has not scored both sides of."""

    @field_validator("scores")
    @classmethod
    def _is_a_file(cls, path: Path) -> Path:
        if not path.is_file():
            raise ValueError(f"{path} is not a file: give a Parquet file of scores")
        return path


def measured_by(config: SecondAnnotatorConfig) -> dict[str, Any]:
    """The margins are those of the scores in the file."""
    return {"scores": file_checksum(config.scores)}


def measure(pairs: pa.Table, config: SecondAnnotatorConfig) -> pa.Table:
    """Look up the other judge's margin of each pair; NaN where it has not scored both sides.

    Raises:
        ValueError: The file is no table of scores.
    """
    scores = _read_scores(config.scores, file_checksum(config.scores))
    return pa.table({"margin": scores.look_up(pairs["chosen_id"]) - scores.look_up(pairs["rejected_id"])})


def decide(facts: Facts, config: SecondAnnotatorConfig) -> list[Measured]:
    """Keep pairs that the other judge orders alike."""
    margin = facts.floats("margin")
    unscored = np.isnan(margin)
    if n_unscored := int(unscored.sum()):
        log.warning("%s has no scores of %d of %d pairs: %s", config.scores, n_unscored, len(facts), config.unscored)
    keep = unscored | (margin > config.min_margin)
    found = [Measured(keep, margin, config.min_margin, "second_annotator_disagrees")]
    if config.unscored == "drop":
        found.append(Measured(~unscored, None, None, "second_annotator_unscored"))
    return found


@dataclass(frozen=True)
class _Scores:
    """Scores by the 128-bit hash of the candidate's id, ordered by its lower half."""

    low: np.ndarray
    high: np.ndarray
    score: Floats

    def look_up(self, ids: pa.ChunkedArray) -> Floats:
        if not self.low.size:
            return np.full(len(ids), np.nan)
        wanted = hash_texts(pc.fill_null(ids, "").cast(pa.binary()).to_pylist())
        low, high = wanted["low"].to_numpy(), wanted["high"].to_numpy()
        at = np.minimum(np.searchsorted(self.low, low), self.low.size - 1)
        return np.where((self.low[at] == low) & (self.high[at] == high), self.score[at], np.nan)


@lru_cache(maxsize=2)
def _read_scores(path: Path, _: str) -> _Scores:
    table = read_scores(path, "second_annotator.scores", "candidate_id")
    _check(path, table)
    hashes = hash_texts(table["candidate_id"].cast(pa.binary()).to_pylist())
    order = np.argsort(hashes["low"].to_numpy())
    score = table["score"].to_numpy().astype(np.float64)
    return _Scores(hashes["low"].to_numpy()[order], hashes["high"].to_numpy()[order], score[order])


def _check(path: Path, table: pa.Table) -> None:
    ids, score = table["candidate_id"], table["score"]
    where = f"second_annotator.scores: {path}"
    if not (pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)) or ids.null_count:
        raise ValueError(f"{where}: the column candidate_id holds {ids.type} with {ids.null_count} nulls: give texts")
    if (n_ids := len(ids.unique())) != len(ids):
        raise ValueError(f"{where}: {len(ids)} rows hold {n_ids} candidates: keep the scores of one judge")
    if np.isinf(score.to_numpy().astype(np.float64)).any():
        raise ValueError(f"{where}: a score is infinite: give a number, or null = unscored")


SECOND_ANNOTATOR = Filter(SecondAnnotatorConfig, ("chosen_id", "rejected_id"), measure, decide, measured_by)
