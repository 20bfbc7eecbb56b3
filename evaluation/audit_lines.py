"""A measured figure of a judge and the bound that it is held against in, a line of the audit with its verdict out."""

from dataclasses import dataclass
from typing import Literal

from evaluation.bootstrap import Interval

State = Literal["ok", "look", "bad", "info", "n/a"]
Unit = Literal["share", "points", "number", "sd"]

POSITION = "position"
REPETITION = "repetition"
LENGTH = "length"
PADDED = "padded answers"
NULLS = "null answers"
INJECTED = "injected verdicts"
FAMILIES = "self-preference"
GOLD = "gold labels"
RUNNING = "running"

FEWEST_PROMPTS = 20
"""Below it an interval over prompts is too coarse to clear a judge or to convict it."""

_NBSP = "\u00a0"


@dataclass(frozen=True)
class Bound:
    """Where a figure of a sound judge lies; None = open on that side."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """One measure of a judge with its verdict.

    Attributes:
        section: What it is about: `position`, `null answers`.
        name: What was measured, or which probe.
        unit: share and points in [0, 1] (points are a difference of shares), number, or sd: standard deviations.
        interval: The figure with its 95 % interval; None where it could not be measured.
        bound: Where it should lie; None where it is shown for information.
        state: ok inside the bound; bad where the whole interval is outside; look in between, or with too few prompts;
            info without a bound; n/a without a figure.
        why: What the figure means here, or why there is none.
    """

    section: str
    name: str
    unit: Unit
    interval: Interval | None
    bound: Bound | None
    state: State
    why: str


def hold(section: str, name: str, unit: Unit, interval: Interval | None, bound: Bound | None, why: str = "") -> Line:
    """Hold a figure against its bound."""
    state = _state(interval, bound)
    if state == "look" and interval is not None and interval.n_prompts < FEWEST_PROMPTS:
        few = f"only {interval.n_prompts} prompts: too few to tell"
        why = f"{why}; {few}" if why else few
    return Line(section, name, unit, interval, bound, state, why)


def not_measured(section: str, name: str, unit: Unit, why: str) -> Line:
    """Give the line of a measure that this judge or these answers don't allow."""
    return Line(section, name, unit, None, None, "n/a", why)


def write_interval(line: Line) -> str:
    """Write the figure as people read it: `12.0 % [8.1, 16.2]`."""
    if line.interval is None:
        return "–"
    mean, low, high = line.interval.mean, line.interval.low, line.interval.high
    if line.unit == "share":
        return f"{100 * mean:.1f}{_NBSP}% [{100 * low:.1f}, {100 * high:.1f}]"
    if line.unit == "points":
        return f"{100 * mean:+.1f}{_NBSP}points [{100 * low:+.1f}, {100 * high:+.1f}]"
    if line.unit == "sd":
        return f"{mean:+.2f}{_NBSP}sd [{low:+.2f}, {high:+.2f}]"
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def write_bound(line: Line) -> str:
    """Write the bound as people read it: `≤ 5 %`."""
    if line.bound is None:
        return "–"
    low, high = line.bound.low, line.bound.high
    if low is None:
        return f"≤{_NBSP}{_write(high, line.unit)}"
    if high is None:
        return f"≥{_NBSP}{_write(low, line.unit)}"
    return f"{_write(low, line.unit)} to {_write(high, line.unit)}"


def _write(value: float | None, unit: Unit) -> str:
    if value is None:
        return "–"
    match unit:
        case "share":
            return f"{100 * value:.3g}{_NBSP}%"
        case "points":
            return f"{100 * value:+.3g}{_NBSP}points"
        case "sd":
            return f"{value:+.2g}{_NBSP}sd"
        case "number":
            return f"{value:.3g}"


def _state(interval: Interval | None, bound: Bound | None) -> State:
    if interval is None:
        return "n/a"
    if bound is None:
        return "info"
    above = bound.high is not None and interval.mean > bound.high
    below = bound.low is not None and interval.mean < bound.low
    if interval.n_prompts < FEWEST_PROMPTS:
        return "look"
    if above:
        return "bad" if interval.low > bound.high else "look"  # type: ignore[operator]  above says that there is one
    if below:
        return "bad" if interval.high < bound.low else "look"  # type: ignore[operator]
    return "ok"
