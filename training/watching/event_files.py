"""A training's metrics for TensorBoard, written as they come in.

The files of a killed try are written anew from the metrics that its checkpoint remembers, so that no point is there
twice and none of a step that was taken back.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any  # rows of the metrics, a writer of an untyped library

FOLDER = "tensorboard"


class EventFiles:
    """TensorBoard's files of one training, in a folder of their own in the policy's."""

    def __init__(self, output: Path) -> None:
        self._folder = output / FOLDER
        self._writer: Any = None

    def add(self, rows: Iterable[dict[str, Any]], earlier: Iterable[dict[str, Any]]) -> None:
        """Write rows of `METRICS`; with the first ones, all earlier rows."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            shutil.rmtree(self._folder, ignore_errors=True)
            self._writer = SummaryWriter(str(self._folder), flush_secs=10)
            self._write(earlier)
        self._write(rows)

    def close(self) -> None:
        """Bring the last points to the disk, and take the machine's name out of the file's."""
        if self._writer is None:
            return
        self._writer.close()
        for number, path in enumerate(sorted(self._folder.glob("events.out.tfevents.*"))):
            path.rename(self._folder / f"events.out.tfevents.{number}")

    def _write(self, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            self._writer.add_scalar(row["name"], row["value"], row["step"])
