"""Every pairing rule on the same recorded scores: pairs, drops, conservation, seconds, margin and length gap.

    python benchmarks/pairing_rules.py FILE --json

FILE is a Parquet with a row an answer and the columns prompt, response, score and, where there are several, model. The
seconds are those of the whole function: joining, picking, building the pairs and the ledger, checking conservation.
"""

import argparse
import json
import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any  # JSON values

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, this folder would stand there

from generation.config import PromptsConfig
from generation.imports import ImportColumns, import_candidates
from judging.pairing.pairing import check_conservation, pair_candidates
from judging.pairing.pairing_config import RULE_NAMES, PairingConfig


def measure(tables: tuple[pa.Table, pa.Table, pa.Table], config: PairingConfig) -> dict[str, Any]:
    """Pair by one rule and measure what comes of it; the check of conservation is done again, outside of the clock."""
    begin = time.perf_counter()
    made = pair_candidates(*tables, config)
    seconds = time.perf_counter() - begin
    check_conservation(tables[1], made.pairs, made.drops)
    margins = made.pairs["margin"].to_numpy()
    kinds = Counter(made.drops["kind"].to_pylist())
    return {
        "rule": config.rule,
        "pairs": made.pairs.num_rows,
        "prompts": len(made.pairs["prompt_id"].unique()),
        "prompts_dropped": kinds["prompt"],
        "candidates_dropped": kinds["candidate"],
        "reasons": dict(Counter(made.drops["reason"].to_pylist()).most_common()),
        "conserved": True,  # else the check has raised
        "all_margins_above_0": bool((margins > 0).all()),
        "mean_margin": float(margins.mean()) if margins.size else math.nan,
        "length_gap": made.facts.get("length_gap", math.nan),
        "seconds": round(seconds, 3),
    }


def main() -> None:
    """Read the options, pair by each rule, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    imported = import_candidates(PromptsConfig(path=options.file.resolve()), ImportColumns(score="score"))
    tables = (imported.prompts, imported.candidates, imported.scores)
    rows = [measure(tables, PairingConfig(rule=rule)) for rule in RULE_NAMES]
    counts = {"prompts": imported.prompts.num_rows, "candidates": imported.candidates.num_rows}
    if options.json:
        print(json.dumps(counts | {"rules": rows}, indent=1))
        return
    print(counts)
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
