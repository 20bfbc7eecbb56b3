"""What filtering did in, its pictures out, as inline SVG for the page."""

# matplotlib leaves keyword arguments untyped, hence Any for axes.
from typing import Any

from evaluation.canvas import COLOURS, inline_svg
from evaluation.funnel_report import FunnelReport
from evaluation.funnel_shift import Histogram, LengthShift, MarginShift
from evaluation.funnel_texts import cut, show_hidden

_WIDTH_INCHES = 5.0
_INCHES_A_ROW = 0.42
_NAME_CHARS = 30  # a longer one would run into the numbers beside it
_NUMBER_PLACE = 0.81  # where dropped counts end, as a part of the width; the pairs left end at 1


def funnel_panel(report: FunnelReport) -> str:
    """Draw how many pairs are left after each filter, and how many it dropped."""
    return inline_svg("funnel", lambda axes: _draw_funnel(axes, report))


def lengths_panel(shift: LengthShift) -> str:
    """Draw the mean lengths of both sides, before and after."""
    return inline_svg("lengths", lambda axes: _draw_lengths(axes, shift))


def doublings_panel(shift: LengthShift) -> str:
    """Draw how much longer chosen answers are, pair by pair, before and after."""
    return inline_svg("doublings", lambda axes: _draw_doublings(axes, shift.doublings))


def margins_panel(shift: MarginShift) -> str:
    """Draw margins before and after."""
    return inline_svg("margins", lambda axes: _draw_margins(axes, shift.margins))


def _draw_funnel(axes: Any, report: FunnelReport) -> None:
    rows = [("pairs in", report.n_in, 0, 0)]
    rows += [(one.step, one.n_in - one.n_dropped, one.n_dropped, one.n_in) for one in report.steps]
    axes.figure.set_size_inches(_WIDTH_INCHES, 0.5 + _INCHES_A_ROW * len(rows))
    across = axes.get_yaxis_transform()
    for place, (name, n_left, n_dropped, n_in) in enumerate(rows):
        axes.barh(place, report.n_in, color=COLOURS["grid"], alpha=0.5, height=0.26)
        axes.barh(place, n_left, color=COLOURS["judge"], height=0.26)
        axes.barh(place, n_dropped, left=n_left, color=COLOURS["refused"], height=0.26)
        line: dict[str, Any] = {"y": place - 0.2, "va": "bottom", "transform": across, "fontsize": 10}
        axes.text(0, s=cut(show_hidden(name), _NAME_CHARS), ha="left", **line)
        axes.text(1, s=f"{n_left:,}", ha="right", **line)
        if place:
            colour = COLOURS["refused"] if n_dropped else COLOURS["muted"]
            share = f"−{n_dropped:,} ({_percent(n_dropped, n_in)})" if n_dropped else "none dropped"
            axes.text(_NUMBER_PLACE, s=share, ha="right", color=colour, **line)
    axes.set_xlim(0, max(report.n_in, 1))
    axes.set_ylim(len(rows) - 0.7, -0.75)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _percent(part: int, whole: int) -> str:
    percent = 100 * part / whole
    return f"{percent:.1f} %" if percent >= 0.05 else "< 0.1 %"


def _draw_lengths(axes: Any, shift: LengthShift) -> None:
    axes.figure.set_size_inches(_WIDTH_INCHES, 2.1)
    times = {"before": shift.before} | ({"after": shift.after} if shift.after is not None else {})
    for place, one in enumerate(times.values()):
        ends = [one.rejected_mean, one.chosen_mean]
        axes.plot(ends, [place, place], color=COLOURS["muted"], alpha=0.5, linewidth=3, zorder=1)
        for side, value in zip(("rejected", "chosen"), ends, strict=True):
            colour = COLOURS["judge" if side == "chosen" else "annotator"]
            label = side if place == 0 else None
            axes.plot([value], [place], "o", color=colour, markersize=9, label=label)
        axes.annotate(
            f"{one.gap:+,.1f} characters", (sum(ends) / 2, place), xytext=(0, 8), textcoords="offset points",
            ha="center", fontsize=10, color=COLOURS["ink"],
        )  # fmt: skip
    axes.set_yticks(range(len(times)), list(times))
    axes.set_ylim(len(times) - 0.5, -0.7)
    axes.margins(x=0.35)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("characters, mean")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0)


def _draw_doublings(axes: Any, histogram: Histogram) -> None:
    _draw_histogram(axes, histogram)
    axes.axvline(0, color=COLOURS["muted"], linewidth=1, linestyle="--")
    axes.set_xticks([-4, -3, -2, -1, 0, 1, 2, 3, 4], ["1/16", "1/8", "1/4", "1/2", "same", "2×", "4×", "8×", "16×"])
    axes.set_xlabel("length of chosen over rejected")


def _draw_margins(axes: Any, histogram: Histogram) -> None:
    _draw_histogram(axes, histogram)
    axes.set_xlabel("score of chosen less that of rejected")


def _draw_histogram(axes: Any, histogram: Histogram) -> None:
    before, after = _shares(histogram.before), _shares(histogram.after)
    axes.stairs(before, histogram.edges, fill=True, color=COLOURS["muted"], alpha=0.35, label="before")
    if any(after):
        axes.stairs(after, histogram.edges, color=COLOURS["judge"], linewidth=1.8, label="after")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("percent of pairs")
    axes.legend(loc="upper right", borderpad=0)


def _shares(counts: list[int]) -> list[float]:
    total = sum(counts)
    return [100 * count / total for count in counts] if total else [0.0] * len(counts)
