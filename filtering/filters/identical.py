"""Drop pairs whose two texts are equal but for their form: there is nothing to prefer.

`identical` means equal after Unicode NFKC and white-space normalisation; `same_but_for_form` also takes away case,
Markdown's marks and the punctuation of sentences (`filtering.form` says what counts as form and what does not). Pairs
of nearly equal texts lower the chosen answer's likelihood (DPOP, arXiv 2402.13228). Whoever wants to teach a format
turns `form` off.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filtering.filter import Facts, Filter, FilterConfig
from filtering.form import is_same_but_for_form, is_same_but_for_spaces, may_be_same
from filtering.measured import Measured

_FIRST_CHARS = 64


class IdenticalConfig(FilterConfig, frozen=True):
    """Drop pairs whose two texts are equal, or differ only in form."""

    name: Literal["identical"]
    form: bool = True
    """Also drop pairs that differ only in case, Markdown's marks or the punctuation of sentences."""


def measure(pairs: pa.Table, _: IdenticalConfig) -> pa.Table:
    """Compare the texts."""
    n = pairs.num_rows
    differs, differs_beyond_form = np.ones(n, dtype=bool), np.ones(n, dtype=bool)
    for row in _candidates(pairs):
        one, other = pairs["chosen"][row].as_py(), pairs["rejected"][row].as_py()
        differs[row] = not is_same_but_for_spaces(one, other)
        differs_beyond_form[row] = differs[row] and not is_same_but_for_form(one, other)
    return pa.table({"differs": differs, "differs_beyond_form": differs_beyond_form})


def decide(facts: Facts, config: IdenticalConfig) -> list[Measured]:
    """Keep pairs that differ."""
    found = [Measured(facts["differs"], None, None, "identical")]
    return [*found, Measured(facts["differs_beyond_form"], None, None, "same_but_for_form")] if config.form else found


def _candidates(pairs: pa.Table) -> Iterator[int]:
    """Give the rows whose letters and digits begin alike; the rest is read no further."""
    sides = (pc.utf8_normalize(pairs[side], "NFKC").to_pylist() for side in ("chosen", "rejected"))
    for row, (one, other) in enumerate(zip(*sides, strict=True)):
        if one == other or (may_be_same(one, other, _FIRST_CHARS) and may_be_same(one, other, None)):
            yield row


IDENTICAL = Filter(IdenticalConfig, ("chosen", "rejected"), measure, decide, version=2)
