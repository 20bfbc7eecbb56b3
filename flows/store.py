"""The workspace: content-addressed datasets, written shard by shard, complete when their manifest stands.

    workspace/stages/<stage>/<key>/part-00000.parquet drops-00000.parquet plan.json manifest.json
    workspace/policies/<key>/      weights or adapter, tokenizer, manifest.json
    workspace/runs/<run>/          which keys a run used, its recipe, its report

A killed stage leaves whole shards without a manifest; a rerun does the missing ones only.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any  # JSON values

import pyarrow as pa
import pyarrow.parquet as pq

from flows import locks
from flows.tables import file_checksum, write_table, write_text

MAIN_TABLE = "part"
_URL = re.compile(r"^[a-z][a-z0-9+.-]+:/")  # pathlib makes one slash of two
_SHARD = re.compile(r"^(?P<table>[a-z_]+)-(?P<index>\d{5})\.parquet$")


@dataclass(frozen=True)
class Manifest:
    """What a complete dataset says about itself."""

    stage: str
    key: str
    version: int
    parts: dict[str, Any]  # what the key hashes: config, input keys, identities
    rows: dict[str, int]  # table -> rows
    checksums: dict[str, str]  # file -> xxh3_128
    facts: dict[str, Any]  # what else the stage reports: seconds, tokens, figures
    created: str  # UTC


class Dataset:
    """One folder of the workspace: some Parquet tables in shards, and a manifest once complete."""

    def __init__(self, stage: str, key: str, folder: Path) -> None:
        self.stage = stage
        self.key = key
        self.folder = folder

    @property
    def lock_path(self) -> Path:
        """The lock file lies beside the folder, so that removing a dataset does not remove its lock."""
        return self.folder.with_name(f"{self.key}.lock")

    @property
    def log_path(self) -> Path:
        """Where the child process that works on the dataset logs."""
        return self.folder.with_name(f"{self.key}.log")

    def manifest(self) -> Manifest | None:
        """Read the manifest; None while the dataset is not complete."""
        path = self.folder / "manifest.json"
        return Manifest(**json.loads(path.read_text())) if path.exists() else None

    def shards(self, table: str = MAIN_TABLE) -> dict[int, Path]:
        """List the whole shards of a table by index."""
        found = (_SHARD.match(path.name) for path in self.folder.glob(f"{table}-*.parquet"))
        return {int(m["index"]): self.folder / m.string for m in sorted(filter(None, found), key=lambda m: m.string)}

    def write_shard(self, index: int, tables: dict[str, pa.Table]) -> None:
        """Write the tables of one shard; the main table goes last and means that the shard is whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(tables, key=lambda name: name == MAIN_TABLE):
            path = self.folder / f"{name}-{index:05d}.parquet"
            if name == MAIN_TABLE or tables[name].num_rows:
                write_table(path, tables[name])
            else:
                path.unlink(missing_ok=True)  # of a try that was killed before its main table

    def read_shard(self, index: int, table: str = MAIN_TABLE) -> pa.Table:
        """Read one shard of a table."""
        return pq.read_table(self.shards(table)[index])

    def remove_shard(self, index: int) -> None:
        """Take a shard back, its main table first: without that it counts as not done."""
        for path in sorted(
            self.folder.glob(f"*-{index:05d}.parquet"), key=lambda path: path.name[:5] != MAIN_TABLE + "-"
        ):
            path.unlink()

    def clear(self) -> None:
        """Take back everything; only for a dataset that is not complete."""
        if self.manifest() is not None:
            raise ValueError(f"{self.folder} is complete; remove the folder by hand if you mean it")
        shutil.rmtree(self.folder, ignore_errors=True)

    def read(self, table: str = MAIN_TABLE, columns: list[str] | None = None) -> pa.Table | None:
        """Read all shards of a table as one; None where there is none."""
        paths = self.shards(table).values()
        return pa.concat_tables([pq.read_table(path, columns=columns) for path in paths]) if paths else None

    def n_rows(self, table: str = MAIN_TABLE) -> int:
        """Count the rows of a table from its files' footers."""
        return sum(pq.read_metadata(path).num_rows for path in self.shards(table).values())

    def plan(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Keep what a first run decided about its shards; a later run gets the first one's plan back."""
        path = self.folder / "plan.json"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(plan))
        return json.loads(path.read_text())

    def commit(self, version: int, parts: dict[str, Any], facts: dict[str, Any]) -> Manifest:
        """Write the manifest, which makes the dataset complete."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        names = {m["table"] for path in files if (m := _SHARD.match(path.name))}
        manifest = Manifest(
            stage=self.stage,
            key=self.key,
            version=version,
            parts=parts,
            rows={name: self.n_rows(name) for name in sorted(names)},
            checksums={str(path.relative_to(self.folder)): _flush(path) for path in files},
            facts=facts,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_text(self.folder / "manifest.json", json.dumps(vars(manifest), indent=1))
        return manifest

    @contextmanager
    def hold(self) -> Iterator[locks.Lock]:
        """Hold the dataset's lock: nobody else writes it."""
        with locks.hold(self.lock_path) as lock:
            yield lock


def _flush(path: Path) -> str:
    """Have a file on the disk before the manifest says that it is; give its checksum."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return file_checksum(path)


class Store:
    """A workspace in a local folder."""

    def __init__(self, root: Path) -> None:
        if _URL.match(str(root)):
            raise ValueError(f"workspace {root}: a workspace is a local folder for now; give a path")
        self.root = root.resolve()

    def dataset(self, stage: str, key: str) -> Dataset:
        """Name a dataset, complete or not."""
        folder = self.root / "policies" / key if stage == "policies" else self.root / "stages" / stage / key
        return Dataset(stage, key, folder)

    def run_folder(self, run: str) -> Path:
        """Name and make a run's folder."""
        folder = self.root / "runs" / run
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def manifests(self, stages: Iterable[str]) -> Iterator[Manifest]:
        """Read the manifests of every complete dataset of some stages."""
        for stage in stages:
            folder = self.root / "policies" if stage == "policies" else self.root / "stages" / stage
            for path in sorted(folder.glob("*/manifest.json")):
                yield Manifest(**json.loads(path.read_text()))
