"""All filters by name. A new one is one file in `filtering.filters`, one line here and one in `filtering.config`."""

from filtering.filter import Filter
from filtering.filters.duplicates import DUPLICATES
from filtering.filters.identical import IDENTICAL
from filtering.filters.length import LENGTH
from filtering.filters.repetition import REPETITION
from filtering.filters.similarity import SIMILARITY
from filtering.filters.truncated import TRUNCATED

FILTERS: dict[str, Filter] = {
    "identical": IDENTICAL,
    "similarity": SIMILARITY,
    "length": LENGTH,
    "truncated": TRUNCATED,
    "duplicates": DUPLICATES,
    "repetition": REPETITION,
}
