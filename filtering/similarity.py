"""Drop pairs whose texts are nearly the same: training on them lowers the chosen answer's likelihood too.

Pairs of low edit distance are where DPO pushes both answers down (DPOP, arXiv 2402.13228). Similarity is rapidfuzz's
normalised Indel similarity, 1 - (insertions + deletions) / (length of both texts).
"""

import numpy as np
import pyarrow as pa
from rapidfuzz.distance import Indel
from rapidfuzz.process import cpdist

from filtering.config import SimilarityConfig
from filtering.measured import Measured


def find_similar(pairs: pa.Table, config: SimilarityConfig) -> list[Measured]:
    """Measure the similarity of each pair's texts in [0, 1]; below the limit it is not computed to the end."""
    similarity = cpdist(
        pairs["chosen"].to_pylist(),
        pairs["rejected"].to_pylist(),
        scorer=Indel.normalized_similarity,
        score_cutoff=config.max_similarity,
        dtype=np.float64,
        workers=-1,
    )
    return [Measured(similarity <= config.max_similarity, similarity, config.max_similarity, "similarity")]
