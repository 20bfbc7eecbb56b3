"""One look for every picture: a drawing function in, inline SVG or a PNG out.

Colours are named by role. In SVG each becomes a CSS variable of the page, so that a picture follows the page's light or
dark scheme; a PNG takes the light values.
"""

# matplotlib leaves keyword arguments and rc values untyped, hence Any for axes.
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

COLOURS = {
    "ink": "#1d2430",
    "muted": "#667080",
    "grid": "#dfe3e9",
    "surface": "#fefefe",
    "judge": "#2a6fc4",
    "annotator": "#c8611c",
    "refused": "#c22f4a",
}
Draw = Callable[[Any], None]

_PANEL_INCHES = (5.0, 3.0)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: selectable, and in the page's font
    "text.parse_math": False,  # names may hold a dollar sign
    "font.size": 11,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": COLOURS["grid"],
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 2,
}


def inline_svg(name: str, draw: Draw) -> str:
    """Draw one panel as an `<svg>` element; texts in it are escaped by matplotlib.

    Args:
        name: Unique in its page: the ids inside are made from it.
        draw: Fills the axes.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {**_STYLE, "svg.hashsalt": name}
    with mpl.rc_context(style):
        figure = Figure(figsize=_PANEL_INCHES, layout="constrained", facecolor="none")
        draw(figure.subplots())
        figure.draw_without_rendering()  # as in `write_png`
        buffer = io.StringIO()
        # no metadata: the same report gives the same bytes, whatever the clock says
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(["Creator", "Date", "Format", "Type"]))
    return _themed(buffer.getvalue())


def write_png(draws: list[Draw], path: Path, columns: int | None = None) -> None:
    """Draw panels in the light scheme, in rows of so many columns; None puts all side by side."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        width, height = _PANEL_INCHES
        columns = columns or len(draws)
        rows = -(-len(draws) // columns)
        size = (width * columns, height * 1.15 * rows)
        figure = Figure(figsize=size, layout="constrained", facecolor=COLOURS["surface"])
        places = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes in places[len(draws) :]:
            axes.set_visible(False)
        for draw, axes in zip(draws, places, strict=False):
            draw(axes)
        figure.draw_without_rendering()  # a first layout changes the ticks, the second makes room for their labels
        figure.savefig(path, format="png", dpi=160, metadata={"Software": None})


def _themed(document: str) -> str:
    svg = document[document.index("<svg") :]
    svg = re.sub(r' id="[a-z0-9.]+_[0-9]+"', "", svg)  # figure_1 and the like repeat in every panel of a page
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 aria-hidden="true"', svg, count=1)
    for role, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{role})")
    return svg
