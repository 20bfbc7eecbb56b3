"""A judge's scores in a Parquet file that a recipe names, with errors that name the recipe's field."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read_scores(path: Path, field: str, id_column: str) -> pa.Table:
    """Read a file with an id and a score in each row, its other columns too.

    Args:
        path: The file.
        field: The recipe's field that names it.
        id_column: What the ids are called.

    Raises:
        ValueError: It is no Parquet file, lacks one of the two columns, or its scores are no numbers.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{field}: {path} is no Parquet file that can be read ({error})") from error
    if missing := [name for name in (id_column, "score") if name not in table.column_names]:
        raise ValueError(f"{field}: {path} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}")
    score = table["score"].type
    if not (pa.types.is_floating(score) or pa.types.is_integer(score)):
        raise ValueError(f"{field}: {path}: the column score holds {score}: give numbers, null = unscored")
    return table
