"""Stored scores of several judges in, a panel's out: opinions put on one scale within each prompt, then joined.

Panels are PoLL's (arXiv:2404.18796), which averages scores as they are or counts votes on right and wrong.

`mean` standardises a member's scores of one prompt, z = (score - mean) / standard deviation over the answers that the
member scored (0 for all where they are equal), and takes the weighted mean over members. `majority` takes votes:
1 above the median of the member's scores of the prompt, 0 below, 1/2 on it; the score is the weighted share of votes.
Either way a judge's offset and unit change nothing. `uncertainty` is the weighted standard deviation between members,
null where only one scored the answer. A member that did not score an answer is left out there, and the weights of the
others count alone.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from judging.config import PanelConfig
from judging.schema import SCORES

_Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
_Ints = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def combine_panel(config: PanelConfig, scores: Sequence[pa.Table], names: Sequence[str]) -> pa.Table:
    """Join the members' scores into the panel's.

    Args:
        config: The panel; the members' weights stand in it.
        scores: One table of `judging.schema.SCORES` a member, all of the same candidates, in any order.
        names: The members' names, each its own: the names of the aspects.

    Returns:
        Table of `judging.schema.SCORES` in the order of the first member's, of the judge `panel`. `aspects` holds each
        member's z or vote; an answer that fewer than `min_members` scored has the reason `too_few_members`, and its
        `rationale` says what each member's reason was. Tokens and cost stay with the members.

    Raises:
        ValueError: If there is not one table and one name a member, or the tables hold different candidates.
    """
    weights = np.array([member.weight for member in config.members])
    weights /= weights.max()
    if not len(scores) == len(names) == len(set(names)) == len(weights):
        raise ValueError(
            f"a panel of {len(weights)} members wants a table and a name of its own for each, got {len(scores)} tables "
            f"and the names {list(names)}"
        )
    tables = _align(scores, names)
    prompts = _Prompts.of(tables[0])
    read = _standardise if config.combine == "mean" else _vote
    opinions = np.column_stack([read(_scores_of(*one), prompts) for one in zip(tables, names, strict=True)])
    joint = _weigh(opinions, weights)
    enough = np.isfinite(opinions).sum(axis=1) >= (config.min_members or len(weights))
    columns = {
        "candidate_id": tables[0]["candidate_id"],
        "prompt_id": tables[0]["prompt_id"],
        "judge": pa.array(["panel"] * len(enough), pa.string()),
        "score": pa.array(joint.score, mask=~enough),
        "reason": pc.if_else(pa.array(enough), pa.scalar(None, pa.string()), "too_few_members"),
        "aspects": _aspects(opinions, names),
        "uncertainty": pa.array(joint.spread, mask=~enough | np.isnan(joint.spread)),
        "rationale": _explain(tables, names, enough),
    }
    return pa.table(
        {field.name: columns.get(field.name, pa.nulls(len(enough), field.type)) for field in SCORES}, SCORES
    )


def _align(scores: Sequence[pa.Table], names: Sequence[str]) -> list[pa.Table]:
    """Put the rows of every table into the order of the first."""
    first = scores[0]
    for table, name in zip(scores, names, strict=True):
        n_distinct = pc.count_distinct(table["candidate_id"]).as_py()
        if n_distinct != len(table):
            raise ValueError(
                f"member {name}: {len(table)} score rows hold {n_distinct} candidates, each may stand once"
            )
    aligned = [first]
    for table, name in zip(scores[1:], names[1:], strict=True):
        rows = pc.index_in(first["candidate_id"], value_set=table["candidate_id"])
        if rows.null_count or len(table) != len(first):
            raise ValueError(
                f"members {names[0]} and {name} scored different candidates: {len(first)} and {len(table)}, of which "
                f"{len(first) - rows.null_count} are the same"
            )
        table = table.take(rows)
        if table["prompt_id"] != first["prompt_id"]:
            raise ValueError(f"members {names[0]} and {name} name different prompts for the same candidates")
        aligned.append(table)
    return aligned


def _scores_of(table: pa.Table, name: str) -> _Floats:
    """Give a member's scores, NaN where it has none."""
    values = table["score"].to_numpy().astype(np.float64)
    wrong = pc.sum(pc.invert(pc.is_finite(table["score"]))).as_py()
    if wrong:
        raise ValueError(f"member {name} has {wrong} scores that are not finite; a score is finite or null")
    return values


@dataclass(frozen=True)
class _Prompts:
    """The candidates ordered by prompt, then id, so that sums do not hang on the order of the rows.

    Attributes:
        order: Row of each ordered candidate.
        starts: Where each prompt begins among the ordered candidates.
        of_candidate: Number of the prompt of each ordered candidate.
    """

    order: _Ints
    starts: _Ints
    of_candidate: _Ints

    @classmethod
    def of(cls, table: pa.Table) -> "_Prompts":
        keys = [("prompt_id", "ascending"), ("candidate_id", "ascending")]
        order = pc.sort_indices(table, sort_keys=keys).to_numpy().astype(np.int64)
        ids = table["prompt_id"].take(pa.array(order)).combine_chunks()
        begins = np.ones(len(order), dtype=bool)
        begins[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
        return cls(order, np.flatnonzero(begins), np.cumsum(begins) - 1)

    def back(self, ordered: _Floats) -> _Floats:
        """Put ordered values into the order of the rows."""
        values = np.empty_like(ordered)
        values[self.order] = ordered
        return values


def _standardise(scores: _Floats, prompts: _Prompts) -> _Floats:
    """Give z within each prompt, with the population's standard deviation; NaN where there is no score."""
    if not len(scores):
        return scores
    x, of, starts = scores[prompts.order], prompts.of_candidate, prompts.starts
    # Within [0, 1] first, by halves: then neither the squares nor the range of huge scores can overflow.
    low, high = np.fmin.reduceat(x / 2, starts)[of], np.fmax.reduceat(x / 2, starts)[of]
    spread = high - low
    x = np.divide(x / 2 - low, spread, out=np.where(np.isnan(x), np.nan, 0.0), where=spread > 0)
    n = np.add.reduceat(np.isfinite(x).astype(np.float64), starts)[of]
    x -= np.add.reduceat(np.nan_to_num(x), starts)[of] / np.maximum(n, 1)
    sd = np.sqrt(np.add.reduceat(np.nan_to_num(x) ** 2, starts)[of] / np.maximum(n, 1))
    return prompts.back(np.divide(x, sd, out=np.where(np.isnan(x), np.nan, 0.0), where=spread > 0))


def _vote(scores: _Floats, prompts: _Prompts) -> _Floats:
    """Give 1 above the median of each prompt, 0 below, 1/2 on it; NaN where there is no score."""
    if not len(scores):
        return scores
    x, of, starts = scores[prompts.order], prompts.of_candidate, prompts.starts
    ordered = x[np.lexsort((x, of))]  # NaN last in its prompt
    n = np.add.reduceat(np.isfinite(x).astype(np.int64), starts)
    lower, upper = ordered[starts + np.maximum(n - 1, 0) // 2][of], ordered[starts + n // 2][of]
    # The median is halfway between these two middle scores, and no score lies between them.
    votes = ((x >= upper).astype(np.float64) + (x > lower)) / 2
    return prompts.back(np.where(np.isnan(x), np.nan, votes))


@dataclass(frozen=True)
class _Joint:
    """The panel's opinion of each candidate.

    Attributes:
        score: Weighted mean over the members that have an opinion; NaN without any.
        spread: Their weighted standard deviation; NaN for fewer than two.
    """

    score: _Floats
    spread: _Floats


def _weigh(opinions: _Floats, weights: _Floats) -> _Joint:
    """Join opinions of shape (candidates, members)."""
    present = np.isfinite(opinions)
    shares = present * weights
    total = shares.sum(axis=1)
    least = np.fmin.reduce(
        opinions, axis=1
    )  # means are taken from here, so that equal opinions have exactly their mean
    above = np.where(present, opinions - least[:, None], 0.0)
    mean = np.divide((shares * above).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)
    squares = (shares * np.where(present, above - mean[:, None], 0.0) ** 2).sum(axis=1)
    several = present.sum(axis=1) > 1
    spread = np.sqrt(np.divide(squares, total, out=np.full(len(total), np.nan), where=several))
    return _Joint(least + mean, spread)


def _aspects(opinions: _Floats, names: Sequence[str]) -> pa.MapArray:
    present = np.isfinite(opinions)
    offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int32)
    members = pa.array(np.nonzero(present)[1].astype(np.int32))
    keys = pa.array(list(names), pa.string()).take(members)
    return pa.MapArray.from_arrays(pa.array(offsets), keys, pa.array(opinions[present]))


def _explain(tables: Sequence[pa.Table], names: Sequence[str], enough: np.ndarray) -> pa.Array:
    """Say which members had which reason, for the candidates that stay unscored."""
    texts: list[str | None] = [None] * len(enough)
    rows = np.flatnonzero(~enough)
    reasons = [table["reason"].take(pa.array(rows)).to_pylist() for table in tables]
    for row, given in zip(rows.tolist(), zip(*reasons, strict=True), strict=True):
        texts[row] = ", ".join(f"{name}: {reason or 'scored'}" for name, reason in zip(names, given, strict=True))
    return pa.array(texts, pa.string())
