"""The manifest of a dataset: what it is made of, written last; one that is cut or changed counts as none."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # JSON values

import xxhash

from flows.tables import file_checksum, write_text

MANIFEST = "manifest.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manifest:
    """What a complete dataset says about itself."""

    stage: str
    key: str
    version: int
    parts: dict[str, Any]  # what the key hashes: config, input keys, identities
    rows: dict[str, int]  # table -> rows
    checksums: dict[str, str]  # file -> xxh3_128
    sizes: dict[str, int]  # file -> bytes
    facts: dict[str, Any]  # what else the stage reports: seconds, tokens, figures
    created: str  # UTC


def read_manifest(folder: Path) -> Manifest | None:
    """Read a folder's manifest; None where there is none, or it is cut, changed or of another version."""
    try:
        fields = json.loads((folder / MANIFEST).read_bytes())
        checksum = fields.pop("checksum")
        if checksum == _json_checksum(fields) and fields["key"] == folder.name:
            return Manifest(**fields)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        _log.debug("%s", error)
    _log.warning("%s is damaged: the dataset counts as not complete", folder / MANIFEST)
    return None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a manifest with a checksum of itself."""
    fields = json.loads(json.dumps(vars(manifest)))
    write_text(folder / MANIFEST, json.dumps(fields | {"checksum": _json_checksum(fields)}, indent=1))


def changed_files(folder: Path, manifest: Manifest, *, thorough: bool) -> list[str]:
    """Name the files that are missing or of another size, or, read `thorough`ly, have another checksum."""
    return [name for name in manifest.checksums if not _is_whole(folder / name, name, manifest, thorough)]


def _is_whole(path: Path, name: str, manifest: Manifest, thorough: bool) -> bool:
    try:
        same = path.stat().st_size == manifest.sizes[name]
        return same and (not thorough or file_checksum(path) == manifest.checksums[name])
    except OSError:  # not there, or not readable any more
        return False


def _json_checksum(fields: dict[str, Any]) -> str:
    return xxhash.xxh3_128(json.dumps(fields, sort_keys=True).encode()).hexdigest()
