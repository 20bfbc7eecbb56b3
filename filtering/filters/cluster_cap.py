"""Keep at most so many pairs of one cluster of similar prompts, the ones with the largest margins.

Prompts are one cluster where a chain of similar ones joins them: connected components of the links that
`near_duplicates` finds, at a lower limit. So a template that was filled in a thousand times counts as one topic. Links
are between prompts that came in; without a pair in the middle a cluster falls apart, which only makes it smaller, so
filtering again drops nothing. At 0.5, the lowest similarity that is looked for, the bands miss about 1 link in 8; a
cluster is joined by several, so few are cut. No paper's number: look at the drops. Clusters of embeddings are left out.
"""

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from filtering.filter import Facts, Filter, FilterConfig, Ints
from filtering.filters import near_duplicates
from filtering.measured import Measured
from filtering.near.linking import FLOOR
from filtering.ranks import keep_best


class ClusterCapConfig(FilterConfig, frozen=True):
    """Keep at most some pairs of each cluster of similar prompts, those with the largest margins."""

    name: Literal["cluster_cap"]
    max_pairs: int = Field(default=10, ge=1)
    """Most pairs of one cluster."""
    min_jaccard: float = Field(default=0.5, ge=FLOOR, le=1)
    """Jaccard similarity in [0.5, 1] from which on two prompts are of one cluster; raising it drops fewer."""


def decide(facts: Facts, config: ClusterCapConfig) -> list[Measured]:
    """Keep the best of each cluster."""
    if facts.links is None:
        raise RuntimeError("cluster_cap decides on links, and there are none")
    prompts, number = np.unique(facts["prompt"], return_inverse=True)
    clusters = _join(prompts, facts.links, config.min_jaccard)
    return [keep_best(clusters[number], facts.best_first, config.max_pairs, "cluster_pairs", "prompt")]


def _join(prompts: np.ndarray, links: pa.Table, min_jaccard: float) -> Ints:
    """Give each prompt the smallest number of its cluster."""
    cluster = np.arange(len(prompts))
    one, other = (links[name].to_numpy() for name in ("first", "second"))
    is_joined = np.isin(one, prompts) & np.isin(other, prompts) & (links["jaccard"].to_numpy() >= min_jaccard)
    first, second = np.searchsorted(prompts, one[is_joined]), np.searchsorted(prompts, other[is_joined])
    while (apart := cluster[first] != cluster[second]).any():
        low = np.minimum(cluster[first], cluster[second])[apart]
        np.minimum.at(cluster, np.maximum(cluster[first], cluster[second])[apart], low)
        while not np.array_equal(shorter := cluster[cluster], cluster):
            cluster = shorter
    return cluster


CLUSTER_CAP = Filter(
    ClusterCapConfig,
    near_duplicates.READS,
    near_duplicates.measure,
    decide,
    near_duplicates.measured_by,
    decides_on=("prompt",),
    link=near_duplicates.link,
)
