"""Drop pairs whose two texts are equal but for their form: there is nothing to prefer."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from filtering.filter import Facts, Filter, FilterConfig
from filtering.measured import Measured
from filtering.texts import normalise_spaces


class IdenticalConfig(FilterConfig, frozen=True):
    """Drop pairs whose two texts are equal after Unicode NFKC and white-space normalisation."""

    name: Literal["identical"]


def measure(pairs: pa.Table, _: IdenticalConfig) -> pa.Table:
    """Compare the texts after normalisation."""
    differs = pc.not_equal(normalise_spaces(pairs["chosen"]), normalise_spaces(pairs["rejected"]))
    return pa.table({"differs": differs})


def decide(facts: Facts, _: IdenticalConfig) -> list[Measured]:
    """Keep pairs that differ."""
    return [Measured(facts["differs"], None, None, "identical")]


IDENTICAL = Filter(IdenticalConfig, ("chosen", "rejected"), measure, decide)
