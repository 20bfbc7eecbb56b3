"""Planted copies and similar prompts: what `duplicates` and `near_duplicates` find of them, and what they drop wrongly.

FILE is a Parquet with the columns id, prompt, chosen, rejected, kind and src, a row a pair: `kind` says exact (copy of
row `src` byte for byte), exact_norm (copy with other case and white space) or anything else. Margins are drawn. The
truth about similar prompts is every pair with a Jaccard similarity of at least 0.6, by a prefix filter on sets
(`similar_sets`), among the pairs that `duplicates` leaves. Prompts of fewer than 32 words, which are compared by
characters, are not meant to be there.

    python benchmarks/planted.py --pairs FILE --json
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any  # JSON values

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, this folder would stand there

from benchmarks.similar_sets import shingle_sets, similar_pairs
from filtering.deciding import Decision
from filtering.filtering import filter_parts
from filtering.filters.duplicates import DuplicatesConfig
from filtering.filters.near_duplicates import NearDuplicatesConfig
from filtering.parts import list_parts
from judging.schema import PAIRS

NEAR, FAR = 0.8, 0.6
LIMITS = {"copies_found": 1.0, "near_recall": 0.95, "false_drop_share": 0.001}


def to_pairs(table: pa.Table, seed: int) -> pa.Table:
    """Give the rows the columns of pairs."""
    n = table.num_rows
    roles = pa.array(["user"]).take(pa.array(np.zeros(n, np.int32)))
    contents = table["prompt"].combine_chunks().cast(pa.string())
    messages = pa.StructArray.from_arrays([roles, contents], ["role", "content"])
    columns = {
        "pair_id": table["id"].cast(pa.string()),
        "messages": pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32), messages),
        "chosen": table["chosen"],
        "rejected": table["rejected"],
        "margin": pa.array(np.random.default_rng(seed).integers(1, 9, n) / 2),
    }
    return pa.table([columns.get(field.name, pa.nulls(n, field.type)) for field in PAIRS], schema=PAIRS)


def run(pairs: pa.Table) -> tuple[Decision, dict[str, float]]:
    """Filter through files as a run does; the seconds are those of this process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.parquet"
        pq.write_table(pairs, path, row_group_size=10_000)
        filters = [DuplicatesConfig(name="duplicates"), NearDuplicatesConfig(name="near_duplicates", min_jaccard=NEAR)]
        wall, cpu = time.perf_counter(), time.process_time()
        decision = filter_parts(list_parts([path]), filters, Path(folder) / "facts")
        return decision, {
            "wall_s": round(time.perf_counter() - wall, 2),
            "cpu_s": round(time.process_time() - cpu, 2),
        }


def count_copies(table: pa.Table, is_copy: np.ndarray) -> dict[str, Any]:
    """Count the planted copies and what is left of each group of copies beside one."""
    kind, src = np.array(table["kind"].to_pylist()), table["src"].to_numpy()
    planted = np.isin(kind, ["exact", "exact_norm"])
    group = np.where(planted, src, table["id"].to_numpy())
    members, number = np.unique(group, return_inverse=True)
    left = np.bincount(number, ~is_copy, len(members))
    n_copies = np.bincount(number, planted, len(members))
    return {
        "copies": int(planted.sum()),
        "exact": int((kind == "exact").sum()),
        "exact_norm": int((kind == "exact_norm").sum()),
        "copies_found": float(1 - np.maximum(left - 1, 0).sum() / max(1, planted.sum())),
        "others_dropped": int(is_copy.sum() - n_copies.sum()),
    }


def count_near(prompts: pa.ChunkedArray, stays: np.ndarray) -> dict[str, Any]:
    """Hold who stays against the truth."""
    truth = similar_pairs(shingle_sets(prompts), FAR)
    highest = np.zeros(len(stays))
    for (first, second), jaccard in truth.items():
        highest[first], highest[second] = max(highest[first], jaccard), max(highest[second], jaccard)
    near = [pair for pair, jaccard in truth.items() if jaccard >= NEAR]
    both_stay = sum(bool(stays[first] and stays[second]) for first, second in near)
    far = highest < FAR
    return {
        "prompts": len(stays),
        "near_pairs": len(near),
        "near_pairs_both_kept": both_stay,
        "near_recall": 1 - both_stay / max(1, len(near)),
        "dropped": int((~stays).sum()),
        "dropped_without_a_near_one": int((~stays & (highest < NEAR)).sum()),
        "far": int(far.sum()),
        "false_drops": int((far & ~stays).sum()),
        "false_drop_share": float((far & ~stays).sum() / max(1, far.sum())),
    }


def main() -> None:
    """Read the options, filter, compare, print; the exit code is 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True, help="Parquet with planted copies.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the margins.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    options = parser.parse_args()
    table = pq.read_table(options.pairs)
    decision, seconds = run(to_pairs(table, options.seed))
    steps = np.array([why.step for why in decision.whys] + [""])[decision.why]
    is_copy = steps == "duplicates"
    figures: dict[str, Any] = {"rows": table.num_rows} | seconds | count_copies(table, is_copy)
    figures |= count_near(table["prompt"].filter(pa.array(~is_copy)), steps[~is_copy] == "")
    figures["kept"] = {
        "copies_found": figures["copies_found"] >= LIMITS["copies_found"],
        "near_recall": figures["near_recall"] >= LIMITS["near_recall"],
        "false_drop_share": figures["false_drop_share"] <= LIMITS["false_drop_share"],
    }
    print(
        json.dumps(figures, indent=1) if options.json else "\n".join(f"{name}: {one}" for name, one in figures.items())
    )
    sys.exit(not all(figures["kept"].values()))


if __name__ == "__main__":
    main()
