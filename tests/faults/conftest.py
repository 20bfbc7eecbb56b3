"""Disks that are small or read-only, servers that misbehave, and the command line."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_openai import FakeServer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server on loopback."""
    with FakeServer() as server:
        yield server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
