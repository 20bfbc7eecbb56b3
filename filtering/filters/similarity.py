"""Drop pairs whose texts are nearly the same: training on them lowers the chosen answer's likelihood too.

Pairs of low edit distance are where DPO pushes both answers down (DPOP, arXiv 2402.13228). Similarity is rapidfuzz's
normalised Indel similarity, 1 - (insertions + deletions) / (length of both texts).
"""

from typing import Any, Literal  # Any: JSON values

import numpy as np
import pyarrow as pa
from pydantic import Field
from rapidfuzz.distance import Indel
from rapidfuzz.process import cpdist

from filtering.filter import Facts, Filter, FilterConfig
from filtering.measured import Measured


class SimilarityConfig(FilterConfig, frozen=True):
    """Drop pairs whose two texts say nearly the same (rapidfuzz's normalised Indel similarity)."""

    name: Literal["similarity"]
    max_similarity: float = Field(default=0.9, ge=0, le=1)
    """Highest similarity in [0, 1] that is kept; lower drops more pairs."""


def measured_by(config: SimilarityConfig) -> dict[str, Any]:
    """Similarities below the limit are not computed to the end."""
    return {"cutoff": config.max_similarity}


def measure(pairs: pa.Table, config: SimilarityConfig) -> pa.Table:
    """Measure the similarity of each pair's texts in [0, 1]; below the limit it is 0."""
    similarity = cpdist(
        pairs["chosen"].to_pylist(),
        pairs["rejected"].to_pylist(),
        scorer=Indel.normalized_similarity,
        score_cutoff=config.max_similarity,
        dtype=np.float64,
        workers=-1,
    )
    return pa.table({"similarity": similarity})


def decide(facts: Facts, config: SimilarityConfig) -> list[Measured]:
    """Keep pairs at or below the limit."""
    similarity = facts.floats("similarity")
    return [Measured(similarity <= config.max_similarity, similarity, config.max_similarity, "similarity")]


SIMILARITY = Filter(SimilarityConfig, ("chosen", "rejected"), measure, decide, measured_by)
