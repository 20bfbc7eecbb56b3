"""The same scores paired by every rule, side by side, so that a rule is chosen by what it gives."""

import time
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from judging.pairing.joined import Ints, Joined, join_candidates
from judging.pairing.pairing import check_on_policy
from judging.pairing.pairing_config import PairingConfig, RuleName
from judging.pairing.pairing_reasons import find_reasons
from judging.pairing.picking import Picked, pick_pairs

_YARDSTICK: RuleName = "best_worst"


@dataclass(frozen=True)
class RuleFigures:
    """What one rule gives.

    Attributes:
        rule: Its name.
        pairs: How many pairs.
        prompts: Prompts with a pair.
        prompt_share: Their share in [0, 1] of the prompts with candidates.
        mean_margin: Mean difference of the scores of a pair; None without pairs.
        length_gap: Mean characters of the chosen less those of the rejected answers; None without pairs.
        agreement: Share in [0, 1], among the prompts that best_worst pairs, of those where the rule makes that very
            pair too; None where best_worst makes none.
        drops: Prompts without a pair by reason, the most frequent first.
        seconds: What picking took.
    """

    rule: RuleName
    pairs: int
    prompts: int
    prompt_share: float
    mean_margin: float | None
    length_gap: float | None
    agreement: float | None
    drops: dict[str, int]
    seconds: float


def compare_rules(
    prompts: pa.Table,
    candidates: pa.Table,
    scores: pa.Table,
    configs: list[PairingConfig],
    on_policy: Set[str] | None = None,
) -> list[RuleFigures]:
    """Pair the same scores by several rules and measure what each gives.

    Args:
        prompts: Table of `generation.schema.PROMPTS`.
        candidates: Table of `generation.schema.CANDIDATES`.
        scores: Table of `judging.schema.SCORES` of one judge.
        configs: One a rule, best_worst among them; the seed of the first one counts for all.
        on_policy: As in `judging.pairing.pair_candidates`.

    Raises:
        ValueError: As in `judging.pairing.pair_candidates`.
    """
    joined = join_candidates(prompts, candidates, scores, on_policy or frozenset(), configs[0].seed)
    picks: list[tuple[PairingConfig, Picked, float]] = []
    for config in configs:
        check_on_policy(candidates, joined, config, on_policy)
        begin = time.perf_counter()
        picks.append((config, pick_pairs(joined, config), time.perf_counter() - begin))
    yardstick = next(picked for config, picked, _ in picks if config.rule == _YARDSTICK)
    return [_measure(joined, config, picked, yardstick, seconds) for config, picked, seconds in picks]


def _measure(joined: Joined, config: PairingConfig, picked: Picked, yardstick: Picked, seconds: float) -> RuleFigures:
    everyone = np.unique(joined.prompt)
    paired = np.unique(picked.prompt)
    unpaired = joined.take(np.flatnonzero(~np.isin(joined.prompt, paired)))
    margins = joined.score[picked.chosen] - joined.score[picked.rejected]
    gaps = joined.length[picked.chosen] - joined.length[picked.rejected]
    shared = np.isin(_code(yardstick, joined), _code(picked, joined))
    return RuleFigures(
        rule=config.rule,
        pairs=picked.chosen.size,
        prompts=paired.size,
        prompt_share=paired.size / max(everyone.size, 1),
        mean_margin=float(margins.mean()) if margins.size else None,
        length_gap=float(gaps.mean()) if gaps.size else None,
        agreement=float(shared.mean()) if shared.size else None,
        drops=dict(Counter(find_reasons(unpaired, picked.alpha, config).reason.tolist()).most_common()),
        seconds=round(seconds, 3),
    )


def _code(picked: Picked, joined: Joined) -> Ints:
    """Give each pair a number of its own."""
    return picked.chosen * joined.row.size + picked.rejected
