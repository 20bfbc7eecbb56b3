"""What filtering did with a set of pairs in, one self-contained HTML page out.

The page asks the network for nothing and runs no script. Every text is escaped, and characters that can't be seen or
that turn others around are written as what they are. However many pairs came in, it stays a few hundred kilobytes.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation import funnel_plots as plots
from evaluation.canvas import COLOURS
from evaluation.funnel_report import (
    EXCERPT_CHARS,
    Excerpt,
    FunnelReport,
    FunnelStepReport,
    SampleRow,
)
from evaluation.funnel_shift import LengthShift, MarginShift
from evaluation.funnel_sources import count_sources
from evaluation.funnel_texts import Side, cut, mark_differences, show_hidden

if TYPE_CHECKING:
    from markupsafe import Markup

MAX_BYTES = 2_000_000
_LENGTHS_TRIED = (EXCERPT_CHARS, 300, 120)  # of excerpts, in characters: the first that makes the page small enough
_SAMPLES_SHOWN = 20
_MOST_GAP = 0.05  # a larger mean difference in length is what policies learn (R-DPO, arXiv 2403.19159)
_NBSP = "\u00a0"


def write_funnel_page(report: FunnelReport, path: Path) -> None:
    """Write the page under a temporary name, then rename it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(render_funnel_page(report), encoding="utf-8")
    partial.replace(path)


def render_funnel_page(report: FunnelReport) -> str:
    """Return the page as text; excerpts get shorter where it would be larger than `MAX_BYTES`."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_show
    )
    environment.filters |= {"cut": cut, "percent": _percent, "number": _number, "held": _held, "setting": _setting}
    template = environment.from_string((files("evaluation") / "funnel.html.jinja").read_text(encoding="utf-8"))
    figures = {
        "report": report,
        "verdict": _verdict(report),
        "tiles": _tiles(report),
        "funnel": _safe(plots.funnel_panel(report)),
        "panels": _panels(report),
        "sources": count_sources(report.steps),
        "colours": COLOURS,
    }
    page = ""
    for n_chars in _LENGTHS_TRIED:
        page = template.render(figures, samples=_samples(report.steps, n_chars))
        if len(page.encode()) <= MAX_BYTES:
            break
    return page


def _show(value: object) -> object:
    """Show hidden characters of everything that the template writes, but for pictures."""
    return show_hidden(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _safe(svg: str) -> "Markup":
    """Mark a picture of ours as markup: matplotlib has escaped the texts in it."""
    from markupsafe import Markup

    return Markup(svg)


def _verdict(report: FunnelReport) -> str:
    if not report.n_in:
        return "No pairs came in."
    if not report.n_kept:
        return f"Filtering dropped every one of {report.n_in:,} pairs."
    if report.n_kept == report.n_in:
        return f"Filtering kept all of {report.n_in:,} pairs."
    return f"Filtering kept {report.n_kept:,} of {report.n_in:,} pairs ({_percent(report.n_kept, report.n_in)})."


@dataclass(frozen=True)
class _Tile:
    label: str
    value: str
    note: str
    warns: bool = False


def _tiles(report: FunnelReport) -> list[_Tile]:
    n_dropped = report.n_in - report.n_kept
    tiles = [
        _Tile(
            "Pairs in",
            f"{report.n_in:,}",
            f"through {len(report.steps)} {'filter' if len(report.steps) == 1 else 'filters'}",
        ),
        _Tile("Kept", f"{report.n_kept:,}", _percent(report.n_kept, report.n_in)),
        _Tile("Dropped", f"{n_dropped:,}", _percent(n_dropped, report.n_in)),
    ]
    most = max(report.steps, key=lambda step: step.n_dropped, default=None)
    if most is not None and most.n_dropped:
        share = f"{most.n_dropped:,}, {_percent(most.n_dropped, report.n_in)} of all pairs"
        tiles.append(_Tile("Drops most", cut(most.step, 60), share))
    if report.lengths is not None:
        tiles.append(_length_tile(report.lengths))
    if report.margins is not None:
        tiles.append(_margin_tile(report.margins))
    return tiles


def _length_tile(shift: LengthShift) -> _Tile:
    before, after = shift.before, shift.after
    label = "Length gap"
    if after is None:
        return _Tile(
            label, _signed_percent(before.relative_gap), f"of chosen over rejected, before; {_effect(before.cohens_d)}"
        )
    value = f"{_signed_percent(before.relative_gap)}{_NBSP}→ {_signed_percent(after.relative_gap)}"
    effect = f"{_effect(before.cohens_d)} → {_effect(after.cohens_d)}"
    if after.relative_gap is None or abs(after.relative_gap) > _MOST_GAP:
        return _Tile(
            label, value, f"▲ beyond ±{100 * _MOST_GAP:.0f} %, a policy may learn length; {effect}", warns=True
        )
    return _Tile(label, value, f"of chosen over rejected; {effect}")


def _margin_tile(shift: MarginShift) -> _Tile:
    unknown = f"; unknown for {shift.n_unknown:,} pairs" if shift.n_unknown else ""
    after = "–" if shift.mean_after is None else f"{shift.mean_after:.3g}"
    return _Tile("Mean margin", f"{shift.mean_before:.3g}{_NBSP}→ {after}", f"before → after{unknown}")


@dataclass(frozen=True)
class _Panel:
    title: str
    note: str
    svg: "Markup"


def _panels(report: FunnelReport) -> list[_Panel]:
    panels = list[_Panel]()
    if (lengths := report.lengths) is not None:
        mean, pairs = plots.lengths_panel(lengths), plots.doublings_panel(lengths)
        panels.append(_Panel("Length gap", "Mean length of both sides, before and after", _safe(mean)))
        panels.append(_Panel("Length of chosen over rejected", "Pair by pair, before and after", _safe(pairs)))
    if (margins := report.margins) is not None:
        note = "Pair by pair, before and after; the outermost half percent stands at the ends"
        panels.append(_Panel("Margins", note, _safe(plots.margins_panel(margins))))
    return panels


@dataclass(frozen=True)
class _Sample:
    row: SampleRow
    prompt: Excerpt
    sides: dict[str, Side]


@dataclass(frozen=True)
class _Shown:
    step: FunnelStepReport
    dropped: list[_Sample]
    near: list[_Sample]


def _samples(steps: Sequence[FunnelStepReport], n_chars: int) -> list[_Shown]:
    """Give what is shown of each filter that has something to show."""
    return [
        _Shown(step, _cut_samples(step.dropped, n_chars), _cut_samples(step.near_misses, n_chars))
        for step in steps
        if step.dropped or step.near_misses
    ]


def _cut_samples(rows: Sequence[SampleRow], n_chars: int) -> list[_Sample]:
    samples = list[_Sample]()
    for row in rows[:_SAMPLES_SHOWN]:
        chosen, rejected = mark_differences(row.chosen.shorten(n_chars), row.rejected.shorten(n_chars))
        samples.append(_Sample(row, row.prompt.shorten(n_chars // 2), {"chosen": chosen, "rejected": rejected}))
    return samples


def _percent(part: int, whole: int) -> str:
    if not part:
        return f"0{_NBSP}%" if whole else "–"
    percent = 100 * part / whole
    if percent < 0.05:
        return f"<{_NBSP}0.1{_NBSP}%"
    if part < whole and percent >= 99.95:
        return f">{_NBSP}99.9{_NBSP}%"
    return f"{percent:.1f}{_NBSP}%"


def _signed_percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:+.1f}{_NBSP}%"


def _effect(cohens_d: float | None) -> str:
    return "d –" if cohens_d is None else f"d {cohens_d:+.2f}"


def _setting(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _number(value: float) -> str:
    whole = math.isfinite(value) and value == int(value) and abs(value) < 1e15
    return f"{int(value):,}" if whole else f"{value:.4g}"


def _held(row: SampleRow) -> str:
    """Write a value against its threshold: `0.9341 > 0.9`."""
    if row.value is None:
        return ""
    if row.threshold is None:
        return _number(row.value)
    sign = ">" if row.value > row.threshold else "<" if row.value < row.threshold else "="
    value, threshold = _number(row.value), _number(row.threshold)
    if value == threshold and sign != "=":
        value = repr(row.value)  # 0.90001 > 0.9 must not read 0.9 > 0.9
    return f"{value} {sign} {threshold}"
