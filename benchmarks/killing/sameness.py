"""Whether two workspaces hold the same: rows, facts, checksums and weights of every dataset, and how each run ended.

Ids, texts and token ids must be equal; numbers may differ in their last bits, since a resumed run batches its rows
differently. The loss curve and the weights are held closer.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any  # JSON values

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flows.tables import file_checksum
from training.schema import MACHINE_METRICS

ROWS, CURVE, WEIGHTS = 1e-3, 1e-5, 1e-5
TIMES = {"seconds", "resumed_shards", "resumed_step"}  # facts of how a dataset was built, not of what it holds


@dataclass
class Sameness:
    """What differs between two workspaces, in words, and the largest difference of numbers by kind."""

    differences: list[str] = field(default_factory=list)
    largest: dict[str, float] = field(default_factory=lambda: {"rows": 0.0, "loss curve": 0.0, "weights": 0.0})

    def numbers(self, kind: str, pair: list[np.ndarray], allowed: float, where: str) -> None:
        """Compare a pair of arrays; `allowed` is absolute, and relative for numbers above 1."""
        one, other = pair
        if one.shape != other.shape or not np.array_equal(np.isnan(one), np.isnan(other)):
            self.differences.append(f"{where}: {one.shape} numbers against {other.shape}, or other nulls")
            return
        gap = np.abs(one - other) / np.maximum(1.0, np.abs(other))
        largest = float(np.nanmax(gap)) if gap.size and not np.isnan(gap).all() else 0.0
        self.largest[kind] = max(self.largest[kind], largest)
        if largest > allowed:
            self.differences.append(f"{where}: differs by {largest:.2g}, more than {allowed:.0e}")


def compare_workspaces(one: Path, other: Path) -> Sameness:
    """Compare every dataset of two workspaces; both must be finished."""
    same = Sameness()
    folders = {root: {path.parent.relative_to(root) for path in root.rglob("manifest.json")} for root in (one, other)}
    for folder in sorted(folders[one] ^ folders[other]):
        same.differences.append(f"{folder}: complete in one workspace only")
    for folder in sorted(folders[one] & folders[other]):
        _compare_datasets(one / folder, other / folder, same)
    ends = [_read_ends(root) for root in (one, other)]
    if ends[0] != ends[1]:
        same.differences.append(f"{one / 'runs'}: ended with {ends[0]}, the other with {ends[1]}")
    return same


def _read_ends(root: Path) -> dict[str, tuple[bool, int, str]]:
    """Read of each run whether it has ended, and round and key of its last good policy."""
    ends = {}
    for path in root.glob("runs/*/policy.json"):
        last_good = json.loads(path.read_text())
        has_ended = path.with_name("summary.json").exists()
        ends[path.parent.name] = (has_ended, last_good["round"], last_good["policy"]["key"])
    return ends


def _compare_datasets(one: Path, other: Path, same: Sameness) -> None:
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (one, other)]
    for folder, manifest in zip((one, other), manifests, strict=True):
        for name, checksum in manifest["checksums"].items():
            if not (folder / name).exists() or file_checksum(folder / name) != checksum:
                same.differences.append(f"{folder / name}: not the file of its manifest")
    names = [sorted(manifest["checksums"]) for manifest in manifests]
    if names[0] != names[1]:
        same.differences.append(f"{one}: {len(names[0])} files against {len(names[1])}")
        return
    _compare_facts(manifests[0]["facts"], manifests[1]["facts"], f"{one} facts", same)
    for name in names[0]:
        if name.endswith(".parquet"):
            compare_rows(pq.read_table(one / name), pq.read_table(other / name), str(one / name), same)
        elif name.endswith(".safetensors"):
            _compare_weights(one / name, other / name, same)


def compare_rows(one: pa.Table, other: pa.Table, where: str, same: Sameness) -> None:
    """Compare two tables column by column; a table of metrics by its loss as well."""
    is_metrics = one.column_names == ["step", "name", "value"]
    if is_metrics:
        one, other = _of_policy(one), _of_policy(other)
    if one.schema != other.schema or one.num_rows != other.num_rows:
        same.differences.append(f"{where}: other columns or another number of rows")
        return
    for column in one.schema:
        if pa.types.is_floating(column.type):
            pair = [table[column.name].to_numpy(zero_copy_only=False).astype(float) for table in (one, other)]
            same.numbers("rows", pair, ROWS, f"{where} {column.name}")
        elif not one[column.name].equals(other[column.name]):
            same.differences.append(f"{where} {column.name}: other values")
    if is_metrics:
        is_loss = np.array(one["name"].to_pylist()) == "loss"
        curves = [table["value"].to_numpy().astype(float)[is_loss] for table in (one, other)]
        same.numbers("loss curve", curves, CURVE, f"{where} loss")


def _of_policy(metrics: pa.Table) -> pa.Table:
    """Leave out how fast and how large the machine was."""
    return metrics.filter(pa.array([name not in MACHINE_METRICS for name in metrics["name"].to_pylist()]))


def _compare_weights(one: Path, other: Path, same: Sameness) -> None:
    from safetensors.numpy import load_file

    weights = [load_file(path) for path in (one, other)]
    if weights[0].keys() != weights[1].keys():
        same.differences.append(f"{one}: other tensors")
        return
    for name in weights[0]:
        same.numbers("weights", [file[name].astype(float) for file in weights], WEIGHTS, f"{one} {name}")


def _compare_facts(one: Any, other: Any, where: str, same: Sameness) -> None:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted((one.keys() | other.keys()) - TIMES):
            _compare_facts(one.get(name), other.get(name), f"{where}.{name}", same)
    elif isinstance(one, float) and isinstance(other, float):
        if not math.isclose(one, other, rel_tol=ROWS, abs_tol=ROWS):
            same.differences.append(f"{where}: {one} against {other}")
    elif one != other:
        same.differences.append(f"{where}: {one} against {other}")
