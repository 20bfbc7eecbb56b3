"""A folder of results in place of an earlier one: whole or as it was, whatever kills the command in between."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flows import locks
from flows.fields import FieldError
from flows.tables import clear_errors


def check_output(output: Path, source: Path, ours: Sequence[str]) -> None:
    """Check that nothing is lost when a result takes the place of what lies at `output`.

    Args:
        output: Folder that a command writes.
        source: File or folder that it reads.
        ours: Patterns of the names in a result.

    Raises:
        FieldError: It is a file or a disk, holds something else than a result, or lies in `source` or around it.
    """
    if output.exists() and not output.is_dir():
        raise FieldError(f"--output {output} is a file: give a folder that is empty or not there")
    if output.is_mount():
        raise FieldError(f"--output {output} is where a disk is mounted, so it can't be replaced: give a folder in it")
    others = [one.name for one in output.iterdir() if not any(map(one.match, ours))] if output.exists() else []
    if others:
        raise FieldError(
            f"--output {output} holds something that is no result of this command ({sorted(others)[0]}), and would "
            "be replaced: give another --output, or empty it"
        )
    written, read = output.resolve(), source.resolve()
    if written.is_relative_to(read) or read.is_relative_to(written):
        raise FieldError(
            f"--output {output} and --input {source} lie one in the other, so that the input would be replaced, or the "
            "result read the next time: give an --output elsewhere"
        )


@contextmanager
def replaced(output: Path) -> Iterator[Path]:
    """Give a folder that takes the place of `output` when the block ends well; nothing of it stays otherwise.

    Another process that replaces the same folder is waited for.

    Raises:
        OSError: There is no room, or the folder can't be written; the message says what to do.
    """
    made, old, lock = (output.with_name(f".{output.name}.{what}") for what in ("new", "old", "lock"))
    with clear_errors(output.parent), locks.hold(lock):
        if old.exists() and not output.exists():
            old.rename(output)  # a killed command had just moved it
        for left in (made, old):
            shutil.rmtree(left, ignore_errors=True)  # by a killed command
        made.mkdir()
        try:
            yield made
            if output.exists():
                output.rename(old)
            made.rename(output)
        finally:
            for left in (made, old):
                shutil.rmtree(left, ignore_errors=True)
            lock.unlink()
