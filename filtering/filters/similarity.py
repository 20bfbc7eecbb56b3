"""Drop pairs whose texts are nearly the same: training on them lowers the chosen answer's likelihood too.

Pairs of low edit distance are where DPO pushes both answers down (DPOP, arXiv 2402.13228). Scorers: `indel`,
rapidfuzz's 1 - (insertions + deletions) / (length of both texts); `levenshtein`, 1 - edits / (length of the longer
text); `jaccard`, words that stand in both texts over words that stand in either.

Edit distances are followed only down to `measure_from`: on 100,000 pairs of 1,000 characters a side indel down to 0.9
takes 0.5 CPU-seconds, to 0.8 1.1, to the end 2.0. Their cost grows with the square of the length, so above LONG_CHARS
a lower bound is measured instead (`filtering.long_similarity`), and the ledger's reason says so. Left out: similarity
under the model (CHES, arXiv 2410.08847), which finds harmful pairs better and needs the policy.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import re
from collections.abc import Sequence
from typing import Any, Literal  # Any: JSON values

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from rapidfuzz.distance import Indel, Levenshtein
from rapidfuzz.process import cpdist

from filtering.filter import Facts, Filter, FilterConfig
from filtering.long_similarity import least_similarity
from filtering.measured import Bools, Floats, Measured

LONG_CHARS = 50_000

_EDITS = {"indel": Indel, "levenshtein": Levenshtein}
_WORD = re.compile(r"\w+")


class SimilarityConfig(FilterConfig, frozen=True):
    """Drop pairs whose two texts say nearly the same."""

    name: Literal["similarity"]
    scorer: Literal["indel", "levenshtein", "jaccard"] = "indel"
    """Share of characters that stay when one text is edited into the other, or of words that both have."""
    max_similarity: float = Field(default=0.9, ge=0, le=1)
    """Highest similarity in [0, 1] that is kept; lower drops more pairs."""
    measure_from: float = Field(default=0.8, ge=0, le=1)
    """Lowest similarity of indel and levenshtein that is measured. Lower shows near misses and lets max_similarity be
    lowered without measuring again, and takes longer: from 0.8 twice as long as from 0.9, from 0 four times."""
    ngram_words: int = Field(default=1, ge=1, le=13)
    """Words in a row that jaccard counts as one; more gives lower similarities (5: max_similarity 0.8)."""

    @property
    def floor(self) -> float:
        """Lowest similarity that edits are counted down to."""
        return min(self.measure_from, self.max_similarity)


def measured_by(config: SimilarityConfig) -> dict[str, Any]:
    """Edits are counted down to a floor, words to the end."""
    if config.scorer == "jaccard":
        return {"scorer": "jaccard", "ngram_words": config.ngram_words}
    return {"scorer": config.scorer, "floor": config.floor}


def measure(pairs: pa.Table, config: SimilarityConfig) -> pa.Table:
    """Measure the similarity of each pair's texts in [0, 1]; NaN = below the floor.

    `is_bound` marks long texts, whose similarity is at least what stands there.
    """
    if config.scorer == "jaccard":
        texts = zip(pairs["chosen"].to_pylist(), pairs["rejected"].to_pylist(), strict=True)
        similarity = np.array([_jaccard(one, other, config.ngram_words) for one, other in texts], float)
        return pa.table({"similarity": similarity, "is_bound": np.zeros(len(similarity), bool)})
    lengths = np.stack([pc.utf8_length(pairs[side]).to_numpy() for side in ("chosen", "rejected")])
    possible = _highest_possible(lengths, config) >= config.floor
    is_long = lengths.max(axis=0) > LONG_CHARS
    similarity = np.full(pairs.num_rows, np.nan)
    similarity[possible & ~is_long] = _count_edits(pairs, possible & ~is_long, config)
    for row in np.flatnonzero(possible & is_long).tolist():
        similarity[row] = least_similarity(pairs["chosen"][row].as_py(), pairs["rejected"][row].as_py(), config.scorer)
    similarity[similarity < config.floor] = np.nan
    return pa.table({"similarity": similarity, "is_bound": is_long})


def decide(facts: Facts, config: SimilarityConfig) -> list[Measured]:
    """Keep pairs at or below the limit."""
    similarity, is_bound = facts.floats("similarity"), facts["is_bound"]
    keep = ~(similarity > config.max_similarity)
    return [
        Measured(keep | ~rows, np.where(rows, similarity, np.nan), config.max_similarity, reason)
        for rows, reason in ((~is_bound, "similarity"), (is_bound, "similarity_lower_bound"))
    ]


def _highest_possible(lengths: np.ndarray, config: SimilarityConfig) -> Floats:
    """Give the similarity of texts of these lengths if the longer one contained the shorter; rounded up."""
    shorter, longer = lengths.min(axis=0), lengths.max(axis=0)
    whole = (lengths.sum(axis=0) / 2) if config.scorer == "indel" else longer
    return np.divide(shorter, whole, out=np.ones(len(whole)), where=longer > 0) + 1e-9


def _count_edits(pairs: pa.Table, rows: Bools, config: SimilarityConfig) -> Floats:
    """Count edits on all cores."""
    texts = pairs.select(["chosen", "rejected"]).filter(pa.array(rows))
    return cpdist(
        texts["chosen"].to_pylist(),
        texts["rejected"].to_pylist(),
        scorer=_EDITS[config.scorer].normalized_similarity,
        score_cutoff=config.floor,
        dtype=np.float64,
        workers=-1,
    )


def _jaccard(chosen: str, rejected: str, n: int) -> float:
    """Compare sets of n words in a row; texts of fewer words are one of their own length."""
    one, other = (_ngrams(_WORD.findall(text.lower()), n) for text in (chosen, rejected))
    both = len(one & other)
    either = len(one) + len(other) - both
    return both / either if either else float(chosen == rejected)


def _ngrams(words: Sequence[str], n: int) -> set[str]:
    if n == 1 or not words:
        return set(words)
    return {" ".join(words[start : start + n]) for start in range(max(1, len(words) - n + 1))}


SIMILARITY = Filter(SimilarityConfig, ("chosen", "rejected"), measure, decide, measured_by)
