"""What a judge replied about two answers, shown as A and B, in; the chance that A is the better one out.

Each verdict in a reply is checked after the match against what was offered. If all that remain are the same, it counts;
otherwise the reply has a reason and no verdict. (RewardBench takes "[[A]]" anywhere for A, which favours A.) Quoted
lines and thoughts up to `</think>` hold no verdict.

A change of the parsing changes scores: raise `judging.schema.SCORES_VERSION` with it.
"""

import math
import re
from dataclasses import dataclass

from judging.asking.chat import Choice
from judging.asking.transcript import find_cut
from judging.reading.expected_score import expect
from judging.reading.thoughts import find_fault, skip_thoughts
from judging.reasons import NO_LOGPROBS

_VERDICT_LINE = re.compile(r"[\s*_#`]*(?:final )?verdict[\s*_`]*:(.*)", re.IGNORECASE | re.ASCII)
_BRACKETED = re.compile(r"\[\[([^\[\]\n]{1,20})\]\]")
_CHANCE_OF_A = {"A": 1.0, "B": 0.0}
_WRITTEN = {"A": 1.0, "B": 0.0, "TIE": 0.5}
_ARENA_HARD = {"A>>B": 1.0, "A>B": 1.0, "A=B": 0.5, "B>A": 0.0, "B>>A": 0.0}


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """One reply's verdict, or the reason for having none.

    Attributes:
        win: Chance in [0, 1] that the answer shown as A is the better one; written verdicts give 1, 0.5 (tie) or 0.
            None = no verdict.
        reason: Snake-case literal that says why; None with a verdict.
    """

    win: float | None
    reason: str | None = None


def read_expected(choice: Choice, min_mass: float) -> PairVerdict:
    """Read the chance of A against B from the log-probs of a reply's first token (AlpacaEval 2 does so with m and M).

    Args:
        choice: The reply, asked for with log-probs; blanks around a token's letter do not matter.
        min_mass: Share of the probability that both letters must have together.

    Returns:
        A verdict, or a reason: content_filter, empty_reply, no_logprobs, mass (A and B have less than min_mass, or
        nothing).
    """
    if choice.finish_reason == "content_filter":
        return PairVerdict(None, "content_filter")
    if not choice.logprobs:
        return PairVerdict(None, NO_LOGPROBS if choice.text else "empty_reply")
    found = expect(choice.logprobs[0], _CHANCE_OF_A)
    if found is None or (found.mass < min_mass and not math.isclose(found.mass, min_mass)):
        return PairVerdict(None, "mass")
    return PairVerdict(found.score)


def read_written(choice: Choice) -> PairVerdict:
    """Read the verdict of a written reply.

    Returns:
        A verdict, or a reason: content_filter, truncated (cut by max_new_tokens), and those of `parse_written`.
    """
    cut = find_cut(choice)
    return PairVerdict(None, cut) if cut else parse_written(choice.text)


def parse_written(reply: str) -> PairVerdict:
    """Read the lines `Verdict: A`, `Verdict: B` and `Verdict: tie` of a reply (`**Verdict:** [[A]]` will do).

    Returns:
        A verdict, or a reason: empty_reply, truncated (thoughts without an end), no_verdict, unreadable (verdict lines
        with nothing that was offered), two_verdicts (that differ).
    """
    said = [match[1] for line in _said(reply) if (match := _VERDICT_LINE.match(line))]
    return _settle(reply, [label.strip(" \t*_`.[]()\"'").upper() for label in said], _WRITTEN)


def parse_arena_hard(reply: str) -> PairVerdict:
    """Read the labels [[A>>B]], [[A>B]], [[A=B]], [[B>A]] and [[B>>A]] of a reply under Arena-Hard's prompt.

    As in Arena-Hard (arXiv 2406.11939) labels that differ only in strength differ: such a reply has no verdict. Left
    out: a strong label counts three times there, and no more than a weak one here.

    Returns:
        As `parse_written`.
    """
    said = [match[1] for line in _said(reply) for match in _BRACKETED.finditer(line)]
    return _settle(reply, ["".join(label.split()).upper() for label in said], _ARENA_HARD)


def join_orders(shown_first: PairVerdict, shown_second: PairVerdict) -> float | None:
    """Give an answer's share of the win from both orders: the mean chance, but a tie unless both name the same winner.

    Where the orders disagree the place has decided more than the answers; what the mean then holds is mostly noise.

    Args:
        shown_first: The verdict where the answer was A.
        shown_second: The verdict where it was B.

    Returns:
        A share in [0, 1]; None = one of the two has no verdict. One order alone is biased, so it does not count.
    """
    if shown_first.win is None or shown_second.win is None:
        return None
    first, second = shown_first.win, 1 - shown_second.win
    return (first + second) / 2 if (first - 0.5) * (second - 0.5) > 0 else 0.5


def _said(reply: str) -> list[str]:
    """Give the lines after the thoughts that are not quoted from an answer."""
    return [line for line in skip_thoughts(reply).splitlines() if not line.lstrip().startswith(">")]


def _settle(reply: str, said: list[str], offered: dict[str, float]) -> PairVerdict:
    """Give the verdict that all labels agree on, of those that were offered."""
    labels = {label for label in said if label in offered}
    if fault := find_fault(skip_thoughts(reply)):
        return PairVerdict(None, fault)
    if len(labels) != 1:
        return PairVerdict(None, "two_verdicts" if labels else "unreadable" if said else "no_verdict")
    return PairVerdict(offered[labels.pop()])
