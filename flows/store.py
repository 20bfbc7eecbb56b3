"""The workspace: content-addressed datasets, written shard by shard, complete when their manifest stands.

    workspace/stages/<stage>/<key>/part-00000.parquet drops-00000.parquet plan.json manifest.json
    workspace/policies/<key>/      weights or adapter, tokenizer, manifest.json
    workspace/runs/<run>/          which keys a run used, its recipe, its report

A killed stage leaves whole shards without a manifest; a rerun does the missing ones only. Disks and people damage
files: a manifest states size and checksum of each, its own included, so that damage is found and only that is rebuilt.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any  # JSON values

import pyarrow as pa
import pyarrow.parquet as pq

from flows import locks
from flows.manifest import MANIFEST, Manifest, changed_files, read_manifest, write_manifest
from flows.masking import mask
from flows.tables import DamagedError, clear_errors, file_checksum, read_table, write_table, write_text

MAIN_TABLE = "part"
CARD = "README.md"  # of a policy; people write into it
_WEIGHTS = ("policies", "averages")
# What loads a model reads such files when they are there, and a folder of shards its shards.
_LOADED = {".safetensors", ".bin", ".pt", ".json", ".jinja", ".model", ".txt", ".py"}
_log = logging.getLogger(__name__)
_URL = re.compile(r"^[a-z][a-z0-9+.-]+:/")  # pathlib makes one slash of two
_SHARD = re.compile(r"^(?P<table>[a-z_]+)-(?P<index>\d{5})\.parquet$")


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
        """Read the manifest; None while the dataset is not complete, and where the manifest is damaged."""
        return read_manifest(self.folder)

    def shards(self, table: str = MAIN_TABLE) -> dict[int, Path]:
        """List the whole shards of a table by index."""
        found = (_SHARD.match(path.name) for path in self.folder.glob(f"{table}-*.parquet"))
        return {int(m["index"]): self.folder / m.string for m in sorted(filter(None, found), key=lambda m: m.string)}

    def write_shard(self, index: int, tables: dict[str, pa.Table]) -> None:
        """Write the tables of one shard; the main table goes last and means that the shard is whole."""
        _make_folder(self.folder)
        for name in sorted(tables, key=lambda name: name == MAIN_TABLE):
            path = self.folder / f"{name}-{index:05d}.parquet"
            if name == MAIN_TABLE or tables[name].num_rows:
                write_table(path, tables[name])
            else:
                path.unlink(missing_ok=True)  # of a try that was killed before its main table

    def read_shard(self, index: int, table: str = MAIN_TABLE) -> pa.Table:
        """Read one shard of a table."""
        return read_table(self.shards(table)[index])

    def remove_shard(self, index: int) -> None:
        """Take a shard back, its main table first: without that it counts as not done."""
        for path in sorted(
            self.folder.glob(f"*-{index:05d}.parquet"), key=lambda path: path.name[:5] != MAIN_TABLE + "-"
        ):
            path.unlink()

    def clear(self, *, but: str | None = None) -> None:
        """Take back everything but one sub-folder; only for a dataset that is not complete."""
        if self.manifest() is not None:
            raise ValueError(f"{self.folder} is complete; remove the folder by hand if you mean it")
        if but is None or not (self.folder / but).is_dir():
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        for path in self.folder.iterdir():
            if path.is_dir() and path.name != but:
                shutil.rmtree(path)
            elif path.name != but:
                path.unlink()

    def damaged(self, *, thorough: bool) -> list[str]:
        """Name the files of a complete dataset that are not as its manifest says; none where it is not complete.

        Args:
            thorough: Compare checksums, which reads every byte; otherwise only whether each file is there and as long.

        Returns:
            Names relative to the folder. A file that is read with the others, but was not there when the dataset
            became complete, is among them.
        """
        manifest = self.manifest()
        if manifest is None:
            return []
        foreign = {str(path.relative_to(self.folder)) for path in self._files()} - manifest.checksums.keys()
        read = {name for name in foreign if self._is_read(name)}
        return sorted(read.union(changed_files(self.folder, manifest, thorough=thorough)))

    def _is_read(self, name: str) -> bool:
        return Path(name).suffix in _LOADED if self.stage in _WEIGHTS else _SHARD.match(name) is not None

    def take_back(self, names: Iterable[str]) -> None:
        """Take damaged files back, with the manifest first, so that a rebuild does only what is missing.

        Shards go with their sibling tables; of weights everything goes. Foreign files are set aside under another name;
        where there is nothing else, the dataset stays complete. Only under the dataset's lock.
        """
        manifest = self.manifest()
        known = manifest.checksums if manifest else {}
        for name in set(names) - known.keys():
            path = self.folder / name
            if path.exists():
                _log.warning("%s does not belong here: set aside as %s.foreign", path, path.name)
                path.rename(path.with_name(f"{path.name}.foreign"))
        lost = set(names) & known.keys()
        if not lost:
            return
        _log.warning("%s: %s damaged or missing, to be built anew", self.folder, ", ".join(sorted(lost)))
        (self.folder / MANIFEST).unlink(missing_ok=True)
        shards = [_SHARD.match(name) for name in lost]
        if self.stage in _WEIGHTS or not all(shards):
            self.clear()
        for shard in filter(None, shards):
            self.remove_shard(int(shard["index"]))

    def drop_torn_shards(self) -> list[int]:
        """Remove shards of an incomplete dataset that can't be read to the end, and what killed writers left.

        Only under the dataset's lock: no live writer's files are there then.

        Returns:
            The indices of the removed shards.
        """
        for path in self.folder.glob(".*.*"):
            path.unlink()
        torn = {
            int(m["index"])
            for path in self.folder.glob("*.parquet")
            if (m := _SHARD.match(path.name)) and _is_torn(path)
        }
        for index in torn:
            self.remove_shard(index)
        return sorted(torn)

    def read(self, table: str = MAIN_TABLE, columns: list[str] | None = None) -> pa.Table | None:
        """Read all shards of a table as one; None where there is none.

        Raises:
            DamagedError: A file has changed, is missing or does not belong here.
        """
        shards = self.shards(table)
        manifest = self.manifest()
        if manifest is not None:
            names = {path.name for path in shards.values()}
            listed = {name for name in manifest.checksums if (m := _SHARD.match(name)) and m["table"] == table}
            for name in sorted(names ^ listed):
                raise DamagedError(self.folder / name, "missing" if name in listed else "of another dataset")
        if not shards:
            return None
        try:
            rows = pa.concat_tables([read_table(path, columns) for path in shards.values()])
        except pa.ArrowInvalid as error:  # pages have checksums, the names and counts around them have none
            raise DamagedError(self.folder, str(error)) from error
        if manifest is not None and rows.num_rows != manifest.rows[table]:
            raise DamagedError(
                self.folder, f"{rows.num_rows} rows of {table}, its manifest says {manifest.rows[table]}"
            )
        return rows

    def n_rows(self, table: str = MAIN_TABLE) -> int:
        """Count the rows of a table from its files' footers."""
        return sum(pq.read_metadata(path).num_rows for path in self.shards(table).values())

    def plan(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Keep what a first run decided about its shards; a later run gets the first one's plan back.

        Without its plan a shard can't be told from one of another plan: where that is lost, the shards go as well.
        """
        path = self.folder / "plan.json"
        with suppress(FileNotFoundError, ValueError):
            kept = json.loads(path.read_bytes())
            if isinstance(kept, dict) and kept.keys() == plan.keys():
                return kept
        for index in self.shards():
            self.remove_shard(index)
        _make_folder(self.folder)
        write_text(path, json.dumps(plan))
        return plan

    def commit(self, version: int, parts: dict[str, Any], facts: dict[str, Any]) -> Manifest:
        """Write the manifest, which makes the dataset complete."""
        files = {str(path.relative_to(self.folder)): path for path in self._files()}
        tables = {m["table"] for name in files if (m := _SHARD.match(name))}
        with clear_errors(self.folder):
            checksums = {name: _flush(path) for name, path in files.items()}
            _flush_folder(self.folder)
        manifest = Manifest(
            stage=self.stage,
            key=self.key,
            version=version,
            parts=parts,
            rows={name: self.n_rows(name) for name in sorted(tables)},
            checksums=checksums,
            sizes={name: path.stat().st_size for name, path in files.items()},
            facts=facts,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_manifest(self.folder, manifest)
        return manifest

    def _files(self) -> list[Path]:
        """List the dataset's files but for its manifest, its card, hidden ones and those set aside."""
        return sorted(
            path
            for path in self.folder.rglob("*")
            if path.is_file()
            and not path.name.startswith(".")
            and path.suffix != ".foreign"
            and path.name != CARD
            and path != self.folder / MANIFEST
        )

    @contextmanager
    def hold(self) -> Iterator[locks.Lock]:
        """Hold the dataset's lock: nobody else writes it."""
        with locks.hold(self.lock_path) as lock:
            yield lock


def _is_torn(path: Path) -> bool:
    try:
        read_table(path)
    except DamagedError as error:
        _log.warning("%s is done again: %s", path, error.__cause__)
        return True
    return False


def _make_folder(folder: Path) -> None:
    with clear_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _flush(path: Path) -> str:
    """Have a file on the disk before the manifest says that it is; give its checksum."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return file_checksum(path)


def _flush_folder(folder: Path) -> None:
    """Have the names of renamed files on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Store:
    """A workspace in a local folder."""

    def __init__(self, root: Path) -> None:
        if _URL.match(str(root)):
            raise ValueError(f"workspace {mask(str(root))}: a workspace is a local folder for now; give a path")
        self.root = root.resolve()
        if self.root.exists() and not self.root.is_dir():
            raise ValueError(f"workspace {root} is a file: a workspace is a folder, give another path")

    def dataset(self, stage: str, key: str) -> Dataset:
        """Name a dataset, complete or not."""
        folder = self.root / "policies" / key if stage == "policies" else self.root / "stages" / stage / key
        return Dataset(stage, key, folder)

    def run_folder(self, run: str) -> Path:
        """Name and make a run's folder."""
        if Path(run).name != run or run in ("", ".."):
            raise ValueError(f"{run!r} is no name of a run: give the name of a folder in {self.root / 'runs'}")
        folder = self.root / "runs" / run
        _make_folder(folder)
        return folder

    def manifests(self, stages: Iterable[str]) -> Iterator[Manifest]:
        """Read the manifests of every complete dataset of some stages."""
        for stage in stages:
            folder = self.root / "policies" if stage == "policies" else self.root / "stages" / stage
            for path in sorted(folder.glob(f"*/{MANIFEST}")):
                if manifest := read_manifest(path.parent):
                    yield manifest
