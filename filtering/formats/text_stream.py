"""Text files, perhaps compressed, as streams of characters; bytes that are no UTF-8 come as lone surrogates."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa


@contextmanager
def open_text(path: Path) -> Iterator[io.TextIOBase]:
    """Open a text file; a byte order mark is left out and line ends stay as they are.

    Raises:
        ValueError: It is UTF-16, or not compressed as its suffix says.
    """
    try:
        with pa.input_stream(path, compression="detect") as raw, io.BufferedReader(raw, 1 << 20) as stream:  # pyright: ignore[reportArgumentType]
            start = stream.peek(2)[:2]
            if start in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
                raise ValueError(f"{path} is UTF-16: write it as UTF-8")
            with io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="") as text:
                yield text
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"{path} can't be read ({error}): write it again") from error
