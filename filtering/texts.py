"""Texts of pairs in the forms that several filters compare them in."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import pyarrow as pa
import pyarrow.compute as pc


def prompt_texts(messages: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give each conversation's contents, a line end between messages; roles are left out."""
    return pa.chunked_array([_join(chunk) for chunk in messages.chunks], pa.large_string())


def _join(messages: pa.ListArray) -> pa.LargeStringArray:
    contents = pa.ListArray.from_arrays(messages.offsets, pc.struct_field(messages.values, "content"))
    return pc.binary_join(contents, "\n").cast(pa.large_string())
