"""Finding similar prompts, in CPU-seconds: this project, rensa from end to end and datasketch, with one exact check.

All get the same shingles (hashes of three words), ready in the form that each takes; making them is timed apart, and so
is nothing else. Signatures have 128 permutations, cut into 32 bands of 4 rows, and candidates get their true Jaccard
similarity by this project's check:

- ours: rensa's R-MinHash on flat hashes, this project's banding;
- rensa: RMinHash.from_token_sets, RMinHashLSH.insert_many and query_all;
- datasketch: MinHash.bulk (the default scheme affine32, an identity as hash function), this project's banding: its own
  MinHashLSH costs more and is timed as datasketch_lsh.

The truth is every pair with a Jaccard similarity of at least 0.8, by a prefix filter on sets (`similar_sets`).

    python benchmarks/near_duplicates.py --pairs FILE --json
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any  # JSON values, rensa, datasketch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasketch import MinHash, MinHashLSH  # pyright: ignore[reportAttributeAccessIssue]
from rensa import RMinHash, RMinHashLSH  # pyright: ignore[reportAttributeAccessIssue]

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, this folder would stand there

from benchmarks.similar_sets import shingle_sets, similar_pairs
from filtering.near.banding import find_candidates, unpack
from filtering.near.checking import jaccard
from filtering.near.shingles import Sets, UInt64s, distinct, plain_words, word_shingles
from filtering.near.signatures import N_BANDS, N_PERMUTATIONS, band_keys, hash_bands

LIMIT = 0.8
LIMITS = {"of_datasketch": 1 / 3, "of_rensa": 1.2, "recall": 1.0, "precision": 1.0}


def run_ours(sets: Sets) -> UInt64s:
    """Find similar sets as the filter does."""
    return check(sets, band(band_keys(sets)))


def run_rensa(sets: Sets, tokens: list[list[bytes]]) -> UInt64s:
    """Find similar sets with rensa's own index."""
    signatures = RMinHash.from_token_sets(tokens, N_PERMUTATIONS, 42)
    index = RMinHashLSH(LIMIT, N_PERMUTATIONS, N_BANDS)
    index.insert_many(signatures)
    return check(sets, code(index.query_all(signatures)))


def run_datasketch(sets: Sets, tokens: list[list[int]]) -> UInt64s:
    """Find similar sets by datasketch's signatures."""
    signatures = MinHash.bulk(tokens, num_perm=N_PERMUTATIONS, hashfunc=int)
    return check(sets, band(hash_bands(np.stack([one.hashvalues for one in signatures]))))


def run_datasketch_lsh(sets: Sets, tokens: list[list[int]]) -> UInt64s:
    """Find similar sets with datasketch's own index."""
    index = MinHashLSH(num_perm=N_PERMUTATIONS, params=(N_BANDS, N_PERMUTATIONS // N_BANDS))
    signatures = MinHash.bulk(tokens, num_perm=N_PERMUTATIONS, hashfunc=int)
    for place, one in enumerate(signatures):
        index.insert(place, one, check_duplication=False)
    return check(sets, code([index.query(one) for one in signatures]))


def band(keys: np.ndarray) -> UInt64s:
    """Find the pairs that share a band."""
    columns = np.ascontiguousarray(keys.T)
    return distinct(np.concatenate([find_candidates(one, columns.__getitem__) for one in range(N_BANDS)]))


def code(answers: Sequence[Sequence[Any]]) -> UInt64s:
    """Pack what an index answers for each set."""
    second = np.fromiter(chain.from_iterable(answers), np.uint64)
    first = np.repeat(np.arange(len(answers), dtype=np.uint64), [len(one) for one in answers])
    ahead = first < second
    return distinct(first[ahead] << np.uint64(32) | second[ahead])


def check(sets: Sets, codes: UInt64s) -> UInt64s:
    """Keep the candidates whose true similarity is high enough."""
    first, second = unpack(codes)
    return codes[jaccard(sets, first, sets, second) >= LIMIT]


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Run and give the CPU time of all threads, and the result."""
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def measure(prompts: pa.ChunkedArray, rounds: int) -> dict[str, Any]:
    """Time all in turn, and hold what they find against the truth."""
    shingling = [cpu_seconds(lambda: word_shingles(plain_words(prompts)))[0] for _ in range(rounds)]
    sets = word_shingles(plain_words(prompts))
    rows = np.split(sets.values, sets.offsets[1:-1])
    ints, raw = [row.tolist() for row in rows], [[token.tobytes() for token in row] for row in rows]
    works: dict[str, Callable[[], UInt64s]] = {
        "ours": lambda: run_ours(sets),
        "rensa": lambda: run_rensa(sets, raw),
        "datasketch": lambda: run_datasketch(sets, ints),
        "datasketch_lsh": lambda: run_datasketch_lsh(sets, ints),
    }
    truth = {first << 32 | second for first, second in similar_pairs(shingle_sets(prompts), LIMIT)}
    seconds, found = {name: list[float]() for name in works}, dict[str, set[int]]()
    for _ in range(rounds):
        for name, work in works.items():
            taken, codes = cpu_seconds(work)
            seconds[name].append(taken)
            found[name] = set(codes.tolist())
    return {"prompts": len(prompts), "rounds": rounds, "truth": len(truth), "shingling_cpu_s": spread(shingling)} | {
        name: {
            "cpu_s": spread(seconds[name]),
            "ours_over_it": spread([ours / its for ours, its in zip(seconds["ours"], seconds[name], strict=True)]),
            "recall": len(found[name] & truth) / max(1, len(truth)),
            "precision": len(found[name] & truth) / max(1, len(found[name])),
        }
        for name in works
    }


def spread(numbers: list[float]) -> dict[str, float]:
    """Give the least, the median and the largest."""
    return {
        "min": round(min(numbers), 4),
        "median": round(statistics.median(numbers), 4),
        "max": round(max(numbers), 4),
    }


def judge(figures: dict[str, Any]) -> dict[str, bool]:
    """Hold the figures against the limits."""
    return {
        "of_datasketch": figures["datasketch"]["ours_over_it"]["median"] <= LIMITS["of_datasketch"],
        "of_rensa": figures["rensa"]["ours_over_it"]["median"] <= LIMITS["of_rensa"],
        "recall": figures["ours"]["recall"] >= LIMITS["recall"],
        "precision": figures["ours"]["precision"] >= LIMITS["precision"],
    }


def main() -> None:
    """Read the options, measure, print; the exit code is 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True, help="Parquet with a column prompt.")
    parser.add_argument("--rows", type=int, default=10_000, help="Prompts to take from its start.")
    parser.add_argument("--rounds", type=int, default=7, help="Rounds in which each is timed once.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.add_argument("--output", type=Path, help="File for the JSON object.")
    options = parser.parse_args()
    prompts = pq.read_table(options.pairs, columns=["prompt"])["prompt"].slice(0, options.rows)
    figures = measure(prompts, options.rounds)
    figures |= {"limits": LIMITS, "kept": judge(figures)}
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1) + "\n")
    print(
        json.dumps(figures, indent=1) if options.json else "\n".join(f"{name}: {one}" for name, one in figures.items())
    )
    sys.exit(not all(figures["kept"].values()))


if __name__ == "__main__":
    main()
