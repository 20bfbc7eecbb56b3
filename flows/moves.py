"""What follows a round: the next one, the same one more gently, or the end. Pure: `explain` and the flow agree."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal  # JSON values

from flows.iteration import IterationConfig, StopConfig

Rule = Literal["refusal", "no_gain_rounds", "annotator_only", "min_entropy_share", "min_distinct_share", "max_kl"]


@dataclass(frozen=True)
class Move:
    """A round to be run."""

    number: int  # 1-based
    attempt: int  # 0 = the first try, n = the n-th retry after a refusal


@dataclass(frozen=True)
class End:
    """The run is over; `rule` is None where all rounds are done."""

    rule: Rule | None
    reason: str


@dataclass(frozen=True)
class RoundFigures:
    """What the decision looks at, of one try of a round.

    Attributes:
        passed: Whether the gate accepted the new policy.
        gold_delta: Mean score by the gate's judge, new minus last good policy.
        annotator_delta: The same by the annotator.
        kl: Nats per answer to the run's start; None = can't be estimated.
        entropy_share: Token entropy over the start's; None = unknown.
        distinct_share: Distinct-2 over the start's; None = unknown.
    """

    number: int
    attempt: int
    passed: bool
    gold_delta: float
    annotator_delta: float
    kl: float | None
    entropy_share: float | None
    distinct_share: float | None

    @classmethod
    def read(cls, number: int, attempt: int, facts: dict[str, Any]) -> "RoundFigures":
        """Read them from an evaluation's facts."""
        judge, annotator = facts["judge"], facts["annotator"]
        new, start = facts["diversity"]["new"], facts["diversity"]["start"]
        return cls(
            number=number,
            attempt=attempt,
            passed=facts["decision"]["decision"] == "pass",
            gold_delta=judge["new_mean"] - judge["old_mean"],
            annotator_delta=annotator["new_mean"] - annotator["old_mean"],
            kl=facts["kl"]["per_sequence"] if facts["kl"] else None,
            entropy_share=_share(new["token_entropy"], start["token_entropy"]),
            distinct_share=_share(new["distinct_2"], start["distinct_2"]),
        )


def next_move(config: IterationConfig, rounds: int, done: list[RoundFigures]) -> Move | End:
    """Decide what follows.

    Args:
        config: The recipe's part.
        rounds: Most rounds.
        done: Every try so far, in order.
    """
    if not done:
        return Move(1, 0)
    last = done[-1]
    if not last.passed and config.on_refusal == "retry" and last.attempt < config.retry.times:
        return Move(last.number, last.attempt + 1)
    if not last.passed and config.on_refusal == "stop":
        return End("refusal", f"round {last.number} was refused by the gate (iteration.on_refusal: stop)")
    for rule, met in _RULES.items():
        reason = met(config.stop, done)
        if reason:
            return End(rule, f"{reason} (iteration.stop.{rule})")
    if last.number >= rounds:
        return End(None, f"all {rounds} rounds are done")
    return Move(last.number + 1, 0)


def _no_gain(stop: StopConfig, done: list[RoundFigures]) -> str | None:
    gained = [one.number for one in done if one.passed]
    without = done[-1].number - (gained[-1] if gained else 0)
    if stop.no_gain_rounds is None or without < stop.no_gain_rounds:
        return None
    return f"no policy was accepted in {without} round{'s' if without > 1 else ''}"


def _annotator_only(stop: StopConfig, done: list[RoundFigures]) -> str | None:
    last = done[-1]
    if not (stop.annotator_only and last.annotator_delta > 0 and last.gold_delta <= 0):
        return None
    return f"the annotator's mean changed by {last.annotator_delta:+.3f}, the gate's judge's by {last.gold_delta:+.3f}"


def _entropy(stop: StopConfig, done: list[RoundFigures]) -> str | None:
    return _below(stop.min_entropy_share, done[-1].entropy_share, "token entropy")


def _distinct(stop: StopConfig, done: list[RoundFigures]) -> str | None:
    return _below(stop.min_distinct_share, done[-1].distinct_share, "distinct-2")


def _kl(stop: StopConfig, done: list[RoundFigures]) -> str | None:
    kl = done[-1].kl
    if stop.max_kl is None or kl is None or kl <= stop.max_kl:
        return None
    return f"the new policy is {kl:.3f} nats per answer away from the start, more than {stop.max_kl:g}"


_RULES: dict[Rule, Callable[[StopConfig, list[RoundFigures]], str | None]] = {
    "no_gain_rounds": _no_gain,
    "annotator_only": _annotator_only,
    "min_entropy_share": _entropy,
    "min_distinct_share": _distinct,
    "max_kl": _kl,
}


def _below(least: float | None, share: float | None, what: str) -> str | None:
    if least is None or share is None or share >= least:
        return None
    return f"the new policy's {what} is {share:.2f} of the start's, below {least:g}"


def _share(new: float | None, start: float | None) -> float | None:
    return new / start if new is not None and start else None
