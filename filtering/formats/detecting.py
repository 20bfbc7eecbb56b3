"""Which format a file has: its first rows in, the one format that they fit and why out.

A format fits if its columns are there, no row has another type where it has a text or a list, and at least nine of ten
rows look like it. Rows with nulls say nothing. Whatever fits two formats is not guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filtering.formats.catalogue import FORMATS
from filtering.formats.format import BadPairError, Format, MisfitError, Row

SAMPLE_ROWS = 200
_MIN_SHARE = 0.9
_OTHER_SHAPE = ("no_turns", "no_shared_prompt")


@dataclass(frozen=True)
class Detected:
    """What a file was found to be.

    Attributes:
        format: The format.
        why: What it was told by, for people.
    """

    format: Format
    why: str


def detect_format(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> Detected:
    """Find the one format that rows fit.

    Args:
        path: Their file, for messages.
        columns: All columns of the rows.
        rows: The first rows of the file.

    Raises:
        ValueError: None fits, or several do.
    """
    misfits = {name: _misfit(one, columns, rows) for name, one in FORMATS.items()}
    fitting = [name for name, why in misfits.items() if why is None]
    if len(fitting) > 1:
        raise ValueError(
            f"{path} could be {' or '.join(fitting)} (columns {', '.join(columns)}; {len(rows)} rows looked at): say "
            f"which with --format, one of {', '.join(fitting)}"
        )
    if not fitting:
        reasons = "".join(f"\n  {name}: {why}" for name, why in misfits.items())
        raise ValueError(
            f"{path} has no format that is known; its columns are {', '.join(columns) or 'none'}. Rename columns to "
            f"those of a format, or correct the rows named here:{reasons}"
        )
    found = FORMATS[fitting[0]]
    return Detected(found, f"columns {', '.join(found.columns)}, and {len(rows)} rows that look like it")


def force_format(path: Path, name: str, columns: Sequence[str], rows: Sequence[Row]) -> Detected:
    """Take a format that the user named, if rows fit it at all.

    Raises:
        ValueError: There is no such format, a column is missing, or no row has the format's shape.
    """
    if name not in FORMATS:
        raise ValueError(f"format {name!r} is not known: use one of {', '.join(FORMATS)}")
    found = FORMATS[name]
    if lacking := _lacking(found, columns):
        raise ValueError(
            f"{path} is no {name}: it has no column {', '.join(lacking)}, its columns are {', '.join(columns)}. Rename "
            "them, or name another --format"
        )
    reasons = [_bad(found, row) for row in rows if _is_filled(found, row)]
    if reasons and all(reason in _OTHER_SHAPE for reason in reasons):
        raise ValueError(
            f"{path}, row 1: {found.columns[0]} is not as {name} has it ({reasons[0]}), nor in the {len(reasons)} rows "
            "that were looked at: name another --format"
        )
    return Detected(found, "named by --format")


def _misfit(one: Format, columns: Sequence[str], rows: Sequence[Row]) -> str | None:
    """Say why rows are not of a format; None = they are."""
    if lacking := _lacking(one, columns):
        return f"no column {', '.join(lacking)}"
    filled = [(number, row) for number, row in enumerate(rows, start=1) if _is_filled(one, row)]
    unlike: list[str] = []
    for number, row in filled:
        try:
            one.read(row)
        except MisfitError as error:
            return f"row {number}: {error}"
        except BadPairError:
            pass  # a row of the format that is no pair
        if why := one.unlike(row):
            unlike.append(f"row {number}: {why}")
    return unlike[0] if len(unlike) > (1 - _MIN_SHARE) * len(filled) else None


def _bad(one: Format, row: Row) -> str | None:
    try:
        one.read(row)
    except BadPairError as error:
        return error.reason
    except MisfitError:
        return None  # reading the file will name it
    return None


def _lacking(one: Format, columns: Sequence[str]) -> list[str]:
    return [name for name in one.columns if name not in columns]


def _is_filled(one: Format, row: Row) -> bool:
    return all(row.get(name) is not None for name in one.columns)
