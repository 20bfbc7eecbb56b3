"""What an audit measured in, its pictures as inline SVG out."""

# matplotlib leaves keyword arguments untyped, hence Any for axes.
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.audit_lines import Line, State
from evaluation.canvas import COLOURS, inline_svg

_STATE_COLOURS: dict[State, str] = {
    "ok": COLOURS["judge"],
    "look": COLOURS["annotator"],
    "bad": COLOURS["refused"],
    "info": COLOURS["muted"],
    "n/a": COLOURS["muted"],
}
_INCHES_A_ROW = 0.25
_LABEL_CHARS = 26  # a longer one leaves no room for the dots
_MOST_POINTS = 800  # more make the page heavy and the picture no clearer
_BINS = 8


@dataclass(frozen=True)
class Cloud:
    """Points of a scatter plot."""

    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Bin:
    """Pairs that the judge is about equally sure of: its mean confidence, how often gold agrees, and their number."""

    confidence: float
    right: float
    n: int


def lines_panel(name: str, lines: Sequence[Line]) -> str | None:
    """Draw lines of one unit as dots with their intervals, the bound shaded; None where none has a figure."""
    measured = [line for line in lines if line.interval is not None]
    return inline_svg(name, lambda axes: _draw_lines(axes, measured)) if measured else None


def cloud_panel(name: str, cloud: Cloud, x_label: str, y_label: str) -> str | None:
    """Draw points and the means of equally many of them from left to right; None without points."""
    return inline_svg(name, lambda axes: _draw_cloud(axes, cloud, x_label, y_label)) if cloud.x else None


def reliability_panel(bins: Sequence[Bin]) -> str | None:
    """Draw how often gold agrees against how sure the judge is; None without bins."""
    return inline_svg("reliability", lambda axes: _draw_reliability(axes, bins)) if bins else None


def _draw_lines(axes: Any, lines: Sequence[Line]) -> None:
    axes.figure.set_size_inches(5.0, max(1.3, 0.75 + _INCHES_A_ROW * len(lines)))
    scale = 1 if lines[0].unit in ("number", "sd") else 100
    for place, line in enumerate(lines):
        interval = line.interval
        if interval is None:
            continue
        colour = _STATE_COLOURS[line.state]
        axes.plot([scale * interval.low, scale * interval.high], [place, place], color=colour, linewidth=2.5, alpha=0.5)
        axes.plot([scale * interval.mean], [place], "o", color=colour, markersize=6)
    _shade_bound(axes, lines, scale)
    axes.set_yticks(range(len(lines)), [_cut(line.name) for line in lines], fontsize=9.5)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel({"share": "percent", "points": "points", "sd": "sd within prompt", "number": ""}[lines[0].unit])


def _cut(name: str) -> str:
    return name if len(name) <= _LABEL_CHARS else f"{name[: _LABEL_CHARS - 1]}…"


def _shade_bound(axes: Any, lines: Sequence[Line], scale: float) -> None:
    bounds = {line.bound for line in lines}
    low, high = axes.get_xlim()
    if len(bounds) == 1 and (bound := bounds.pop()) is not None:
        edges = [scale * edge for edge in (bound.low, bound.high) if edge is not None]
        room = 0.08 * (max(high, *edges) - min(low, *edges))
        low, high = min([low, *(edge - room for edge in edges)]), max([high, *(edge + room for edge in edges)])
        left = low if bound.low is None else scale * bound.low
        right = high if bound.high is None else scale * bound.high
        axes.axvspan(left, right, color=COLOURS["judge"], alpha=0.08, linewidth=0)
        for edge in edges:
            axes.axvline(edge, color=COLOURS["muted"], linewidth=1, linestyle="--")
    axes.set_xlim(low, high)


def _draw_cloud(axes: Any, cloud: Cloud, x_label: str, y_label: str) -> None:
    step = -(-len(cloud.x) // _MOST_POINTS)
    axes.plot(
        cloud.x[::step], cloud.y[::step], ".", color=COLOURS["judge"], alpha=0.25, markersize=6, markeredgewidth=0
    )
    order = sorted(range(len(cloud.x)), key=lambda place: cloud.x[place])
    groups = [order[i * len(order) // _BINS : (i + 1) * len(order) // _BINS] for i in range(_BINS)]
    means = [
        [sum(values[place] for place in group) / len(group) for group in groups if group]
        for values in (cloud.x, cloud.y)
    ]
    axes.plot(*means, "o-", color=COLOURS["annotator"], markersize=5, label="means of eighths")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.legend(loc="upper left", bbox_to_anchor=(0, 1.13), borderpad=0)


def _draw_reliability(axes: Any, bins: Sequence[Bin]) -> None:
    axes.plot([50, 100], [50, 100], color=COLOURS["muted"], linewidth=1, linestyle="--", label="calibrated")
    confidence, right = [100 * one.confidence for one in bins], [100 * one.right for one in bins]
    axes.plot(confidence, right, "o-", color=COLOURS["judge"], markersize=7, label="this judge")
    for one in bins:
        noise = 196 * (one.right * (1 - one.right) / one.n) ** 0.5  # binomial, as if pairs were independent
        axes.plot(
            [100 * one.confidence] * 2, [100 * one.right - noise, 100 * one.right + noise],
            color=COLOURS["judge"], alpha=0.35,
        )  # fmt: skip
    axes.set_xlim(49, 101)
    axes.set_xlabel("how sure the judge is, percent")
    axes.set_ylabel("gold agrees, percent")
    axes.legend(loc="upper left")
