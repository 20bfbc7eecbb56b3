"""Files that are whole or not there, whatever ends the process that writes them."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Give a file that becomes `path`, flushed to the disk, when the block ends well; nothing of it stays otherwise."""
    with ExitStack() as leftovers:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        leftovers.callback(os.unlink, name)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
        leftovers.pop_all()  # nothing is left over
