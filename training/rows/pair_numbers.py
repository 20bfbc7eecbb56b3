"""The numbers of a pair that losses ask for beside log-probs: read from its row, and checked before training."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any  # Any: rows of a table

if TYPE_CHECKING:
    from training.rows.examples import Example

COLUMNS = ("margin", "soft_label", "chosen_p_win", "rejected_p_win")
NUMBERS = (*COLUMNS, "aspect_margin")
"""What `Loss.columns` may name."""

_SOFT = "set judging.pairing.soft_labels to true with a fitted slope and pair again, or fill the column yourself"
_FIXES = {
    "margin": "pairs made from scores have it, imported ones where their file has the scores of both answers",
    "soft_label": _SOFT,
    "chosen_p_win": _SOFT,
    "rejected_p_win": _SOFT,
    "aspect_margin": "both chosen_aspects and rejected_aspects of a pair must hold every aspect that the loss weighs, "
    "as a judge that scores these aspects gives them; names must be the same",
}
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "margin": (lambda value: 0 < value < math.inf, "above 0"),
    "soft_label": (lambda value: 0 <= value <= 1, "a probability"),
    "chosen_p_win": (lambda value: 0 <= value <= 1, "a probability"),
    "rejected_p_win": (lambda value: 0 <= value <= 1, "a probability"),
    "aspect_margin": (math.isfinite, "finite"),
}


def read_numbers(row: Mapping[str, Any], aspect_weights: Mapping[str, float]) -> dict[str, float | None]:
    """Give the numbers of a row of PAIRS by name; None where the table does not say.

    Args:
        row: The row; its aspects are lists of names and values.
        aspect_weights: How much each aspect counts in `aspect_margin`.
    """
    return {name: row[name] for name in COLUMNS} | {"aspect_margin": _aspect_margin(row, aspect_weights)}


def read_weight(row: Mapping[str, Any]) -> float:
    """Give how much a row of PAIRS counts; 1 where it does not say.

    Raises:
        ValueError: It is not in (0, 1].
    """
    weight = row["weight"]
    if weight is None:
        return 1.0
    if not 0 < weight <= 1:
        raise ValueError(
            f"pair {row['pair_id']}: its weight is {weight}; expected a number above 0 and up to 1, or null for 1: "
            "divide all weights by the largest, and leave out pairs that are to count nothing"
        )
    return weight


def check_numbers(examples: "Sequence[Example]", loss: str, columns: Sequence[str]) -> None:
    """Check that every pair has what the loss asks for.

    Args:
        examples: The pairs.
        loss: The loss's name, for messages.
        columns: What it asks for, some of `NUMBERS`.

    Raises:
        ValueError: Numbers are missing, or are none that the column can have; names the column, the pairs and the fix.
    """
    for column in columns:
        missing = [example.pair_id for example in examples if example.columns[column] is None]
        if missing:
            raise ValueError(
                f"training.loss {loss} asks for {column}, which {len(missing)} of {len(examples)} pairs lack, the "
                f"first is pair {missing[0]}: {_FIXES[column]}; or take another loss"
            )
        in_range, wanted = _RANGES[column]
        wrong = [example for example in examples if not in_range(example.columns[column] or 0.0)]
        if wrong:
            raise ValueError(
                f"training.loss {loss} asks for {column}, which is not {wanted} in {len(wrong)} of {len(examples)} "
                f"pairs, the first is pair {wrong[0].pair_id} with {wrong[0].columns[column]}: mend or leave out these "
                "pairs, or take another loss"
            )


def _aspect_margin(row: Mapping[str, Any], weights: Mapping[str, float]) -> float | None:
    """Sum w_k (r_k(chosen) - r_k(rejected)) (arXiv 2310.03708, eq. 11); None where an aspect is unknown."""
    chosen, rejected = (dict(row[f"{side}_aspects"] or ()) for side in ("chosen", "rejected"))
    known = [name for name in weights if chosen.get(name) is not None and rejected.get(name) is not None]
    if not weights or len(known) < len(weights):
        return None
    return math.fsum(weight * (chosen[name] - rejected[name]) for name, weight in weights.items())
