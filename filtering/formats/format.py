"""What a format is: how another tool's row becomes a pair, and a pair such a row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any  # values of foreign files

import pyarrow as pa

Row = dict[str, Any]


class BadPairError(ValueError):
    """A row is no pair, or a format can't carry a pair; the message is the snake_case reason for the ledger."""

    @property
    def reason(self) -> str:
        """Why, as the drop ledger writes it."""
        return str(self)


class MisfitError(ValueError):
    """A field has a type that the format does not have there: the whole file is something else.

    Attributes:
        field: The field, such as `chosen[0].content`.
    """

    def __init__(self, field: str, value: object, wanted: str) -> None:
        super().__init__(f"{field} is {_describe(value)}, not {wanted}")
        self.field = field


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: What `--format` and `--as` call it.
        columns: Columns that a file of it has to have.
        also_read: Columns that are read where they are there.
        schema: Columns and types of what `write` gives.
        suffix: The kind of file that its tools read.
        read: A row of the file in; `messages`, `chosen`, `rejected` and, where the row has them, other columns of
            `judging.schema.PAIRS` out. Raises BadPairError and MisfitError.
        write: A row of `judging.schema.PAIRS` in, a row of the file out. Raises BadPairError where it can't carry it.
        unlike: Says why a row that `read` takes is hardly meant as this format; None = it looks like it.
    """

    name: str
    columns: tuple[str, ...]
    schema: pa.Schema
    suffix: str
    read: Callable[[Row], Row]
    write: Callable[[Row], Row]
    also_read: tuple[str, ...] = ()
    unlike: Callable[[Row], str | None] = lambda _: None


def _describe(value: object) -> str:
    kind = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number"}
    shown = repr(value)
    return f"{kind.get(type(value), f'a {type(value).__name__}')} ({shown[:60]}{'...' if len(shown) > 60 else ''})"
