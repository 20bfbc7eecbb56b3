"""Pair similarity: the `similarity` filter's measuring beside bare `rapidfuzz.process.cpdist` and difflib, in one run.

The filter starts from Arrow columns, cpdist from lists of strings made outside its clock; `with_lists` has the making
of the lists in it. They take turns, `--repeats` times, and the least CPU time of each (all threads) counts. difflib's
`SequenceMatcher.ratio` sees the first `--difflib` pairs only, once. `same` says that the filter and cpdist give the
same similarities; `ratio_to_*` is the filter's CPU time over the other's, `difflib_ratio` difflib's over the filter's.

    python -m benchmarks.pair_similarity --pairs pairs.parquet --json
"""

import argparse
import difflib
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any  # values of JSON

import numpy as np
import pyarrow.parquet as pq
from rapidfuzz.distance import Indel, Levenshtein
from rapidfuzz.process import cpdist

from filtering.filters.similarity import SimilarityConfig, measure

SCORERS = {"indel": Indel.normalized_similarity, "levenshtein": Levenshtein.normalized_similarity}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True, help="Parquet file with the columns chosen and rejected.")
    parser.add_argument("--rows", type=int, default=10_000, help="Pairs that the filter and cpdist see.")
    parser.add_argument("--difflib", type=int, default=200, help="Pairs that difflib sees.")
    parser.add_argument("--repeats", type=int, default=5, help="Turns of the filter and cpdist.")
    parser.add_argument("--cutoff", type=float, default=0.9, help="Similarity below which nothing is measured.")
    parser.add_argument("--scorer", choices=sorted(SCORERS), default="indel")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    options = parser.parse_args()
    if min(options.rows, options.difflib, options.repeats) < 1:
        parser.error("--rows, --difflib and --repeats must be at least 1")
    found = compare(options)
    if options.json:
        print(json.dumps(found))
        return
    for name, figure in found.items():
        print(f"{name:24} {figure}")


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Run all three; CPU-seconds are those of 100,000 pairs."""
    table = pq.read_table(options.pairs, columns=["chosen", "rejected"]).slice(0, options.rows)
    chosen, rejected = table["chosen"].to_pylist(), table["rejected"].to_pylist()
    config = SimilarityConfig(
        name="similarity", scorer=options.scorer, max_similarity=options.cutoff, measure_from=options.cutoff
    )

    def ours() -> np.ndarray:
        return np.nan_to_num(measure(table, config)["similarity"].to_numpy())

    def run_cpdist(one: list[str], other: list[str]) -> np.ndarray:
        scorer = SCORERS[options.scorer]
        return cpdist(one, other, scorer=scorer, score_cutoff=options.cutoff, dtype=np.float64, workers=-1)

    def bare() -> np.ndarray:
        return run_cpdist(chosen, rejected)

    def with_lists() -> np.ndarray:
        return run_cpdist(table["chosen"].to_pylist(), table["rejected"].to_pylist())

    same = bool(np.array_equal(ours(), bare()))
    turns = [(_cpu(ours), _cpu(bare), _cpu(with_lists)) for _ in range(options.repeats)]
    scale = 1e5 / len(chosen)
    filter_cpu, cpdist_cpu, lists_cpu = (min(times) * scale for times in zip(*turns, strict=True))
    sample = list(zip(chosen, rejected, strict=True))[: options.difflib]
    difflib_cpu = _cpu(lambda: [difflib.SequenceMatcher(None, *pair).ratio() for pair in sample]) * 1e5 / len(sample)
    return {
        "pairs": len(chosen),
        "scorer": options.scorer,
        "cutoff": options.cutoff,
        "mean_chars": round(float(np.mean([len(text) for text in chosen + rejected])), 1),
        "same": same,
        "filter_cpu_s_100k": round(filter_cpu, 3),
        "cpdist_cpu_s_100k": round(cpdist_cpu, 3),
        "with_lists_cpu_s_100k": round(lists_cpu, 3),
        "difflib_cpu_s_100k": round(difflib_cpu, 1),
        "ratio_to_cpdist": round(filter_cpu / cpdist_cpu, 3),
        "ratio_to_with_lists": round(filter_cpu / lists_cpu, 3),
        "difflib_ratio": round(difflib_cpu / filter_cpu, 1),
    }


def _cpu(work: Callable[[], object]) -> float:
    """Give the CPU-seconds of all threads; the pause lets the clocks of a finished pool's threads settle."""
    start = resource.getrusage(resource.RUSAGE_SELF)
    work()
    time.sleep(0.01)
    end = resource.getrusage(resource.RUSAGE_SELF)
    return end.ru_utime - start.ru_utime + end.ru_stime - start.ru_stime


if __name__ == "__main__":
    main()
