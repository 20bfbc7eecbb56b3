"""Pairs that are not trained on: the drop ledger's rows, and the check that no pair is lost."""

from collections.abc import Sequence
from typing import Any  # rows of a table

from generation.schema import CONTEXT_CHARS


def drop_row(
    pair_id: str,
    step: str,
    reason: str,
    text: str | None,
    value: float | None = None,
    threshold: float | None = None,
) -> dict[str, Any]:
    """Give the ledger's row of a pair, with the DROPS schema."""
    return {
        "kind": "pair", "id": pair_id, "stage": "training", "step": step, "reason": reason, "value": value,
        "threshold": threshold, "context": None if text is None else text[:CONTEXT_CHARS].replace("\n", " "),
    }  # fmt: skip


def check_conservation(pair_ids: Sequence[str], kept: Sequence[str], drops: Sequence[dict[str, Any]]) -> None:
    """Check that pairs in = trained on + dropped, over distinct ids.

    Raises:
        ValueError: An id came in twice, or a pair was lost.
    """
    if len(set(pair_ids)) != len(pair_ids):
        twice = next(pair_id for pair_id in pair_ids if pair_ids.count(pair_id) > 1)
        raise ValueError(f"pair {twice} stands in the table more than once; expected distinct pair_ids")
    out = set(kept) | {drop["id"] for drop in drops}
    if out != set(pair_ids) or len(kept) + len(drops) != len(pair_ids):
        raise ValueError(
            f"{len(pair_ids)} pairs went in, {len(kept)} were kept and {len(drops)} dropped: rows were lost"
        )
