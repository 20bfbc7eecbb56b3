"""All filters by name. A new one is one file in `filtering.filters`, one line here and one in `filtering.config`."""

from filtering.filter import Filter
from filtering.filters.cluster_cap import CLUSTER_CAP
from filtering.filters.constant_answers import CONSTANT_ANSWERS
from filtering.filters.contamination import CONTAMINATION
from filtering.filters.duplicate_prompts import DUPLICATE_PROMPTS
from filtering.filters.duplicates import DUPLICATES
from filtering.filters.embedding import EMBEDDING
from filtering.filters.identical import IDENTICAL
from filtering.filters.length import LENGTH
from filtering.filters.margin import MARGIN
from filtering.filters.mismatch import MISMATCH
from filtering.filters.near_duplicates import NEAR_DUPLICATES
from filtering.filters.private import PRIVATE
from filtering.filters.prompt_selection import PROMPT_SELECTION
from filtering.filters.refusal import REFUSAL
from filtering.filters.repetition import REPETITION
from filtering.filters.second_annotator import SECOND_ANNOTATOR
from filtering.filters.similarity import SIMILARITY
from filtering.filters.source_cap import SOURCE_CAP
from filtering.filters.truncated import TRUNCATED
from filtering.filters.uncertainty import UNCERTAINTY

FILTERS: dict[str, Filter] = {
    "identical": IDENTICAL,
    "similarity": SIMILARITY,
    "length": LENGTH,
    "truncated": TRUNCATED,
    "mismatch": MISMATCH,
    "duplicates": DUPLICATES,
    "repetition": REPETITION,
    "constant_answers": CONSTANT_ANSWERS,
    "duplicate_prompts": DUPLICATE_PROMPTS,
    "near_duplicates": NEAR_DUPLICATES,
    "refusal": REFUSAL,
    "margin": MARGIN,
    "prompt_selection": PROMPT_SELECTION,
    "second_annotator": SECOND_ANNOTATOR,
    "source_cap": SOURCE_CAP,
    "uncertainty": UNCERTAINTY,
    "contamination": CONTAMINATION,
    "private": PRIVATE,
    "embedding": EMBEDDING,
    "cluster_cap": CLUSTER_CAP,
}
