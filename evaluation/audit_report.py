"""An audit's lines and points in, one self-contained HTML page and a JSON object out.

The page asks the network for nothing and runs no script; every text is escaped.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any  # JSON values

from evaluation.audit_lines import (
    FAMILIES,
    GOLD,
    INJECTED,
    LENGTH,
    NULLS,
    PADDED,
    POSITION,
    REPETITION,
    RUNNING,
    Line,
    State,
    write_bound,
    write_interval,
)
from evaluation.audit_plots import Bin, Cloud, cloud_panel, lines_panel, reliability_panel
from evaluation.canvas import COLOURS

if TYPE_CHECKING:
    from markupsafe import Markup

_ADVICE = {
    POSITION: "The order in which answers are shown decides duels: keep both orders, and take a stronger model.",
    REPETITION: "It does not say the same twice: lower its temperature, average samples, or ask for a larger margin.",
    NULLS: "Answers without content beat real ones: drop short and unfinished answers before pairing, and give chosen "
    "answers a least score.",
    INJECTED: "Words to the judge win duels, and a policy will learn to write them: keep the marks and quotes of its "
    "template, read verdicts from log-probs, or take another judge.",
    PADDED: "Padding pays: use length control in pairing, and watch the answers' length from round to round.",
    LENGTH: "Length counts for more than it should: use length control in pairing, and watch the answers' length.",
    FAMILIES: "It favours its own family: let a judge of another family decide at the gate, or a panel of several.",
    GOLD: "It differs from the gold labels: look at pairs where it does, change the rubric, or take another judge.",
    RUNNING: "Too many answers stay unscored: look at the reasons, for the rest may be a biased sample.",
}
_MARKS: dict[State, str] = {"ok": "● ok", "look": "▲ look", "bad": "✕ bad", "info": "· info", "n/a": "– n/a"}


@dataclass(frozen=True)
class Probing:
    """What was asked of the judge, and what it took.

    Attributes:
        recipe: The recipe's name.
        field: The judge's place in the recipe.
        judge: What it is: `reward_model ../data/models/reward`.
        seed: Chose prompts and the answers that probes are made from.
        n_prompts: Prompts with answers.
        n_answers: Real answers to them.
        n_judged: Answers that the judge was asked about, probes and repetitions included.
        n_unscored: Those of them without a score.
        reasons: How many are unscored, by reason.
        tokens_in: Tokens the judge read; None = unknown.
        tokens_out: Tokens it wrote; None = unknown.
        seconds: Wall time of the judging in this command, without what an interrupted one had done.
        cost: In the currency of the recipe's price fields; None = not priced.
    """

    recipe: str
    field: str
    judge: str
    seed: int
    n_prompts: int
    n_answers: int
    n_judged: int
    n_unscored: int
    reasons: dict[str, int]
    tokens_in: int | None
    tokens_out: int | None
    seconds: float
    cost: float | None


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes:
        probing: What was asked, and what it took.
        lines: Every measure with its verdict, sections together.
        lengths: Length and score of real answers, as distances from their prompt's mean in standard deviations.
        repeats: First and second score of the same answers, the same way.
        bins: Reliability; empty without gold labels.
        tables: Counts of pairs by judge and gold (first better, tie, second better), by what was done with ties.
    """

    probing: Probing
    lines: list[Line]
    lengths: Cloud
    repeats: Cloud
    bins: list[Bin]
    tables: dict[str, list[list[float]]]

    def to_json(self) -> dict[str, Any]:
        """Give everything but the points of the scatter plots as JSON values."""
        whole = asdict(self)
        del whole["lengths"], whole["repeats"]
        return {"verdict": self.verdict, "counts": self.counts} | whole

    @property
    def counts(self) -> dict[State, int]:
        """Lines by state."""
        counts = Counter(line.state for line in self.lines)
        return {state: counts[state] for state in _MARKS}

    @property
    def verdict(self) -> str:
        """The audit in a sentence."""
        bad, held = self.counts["bad"], sum(self.counts[state] for state in ("ok", "look", "bad"))
        looks = f", {self.counts['look']} more want a look" if self.counts["look"] else ""
        if bad:
            sections = list(dict.fromkeys(line.section for line in self.lines if line.state == "bad"))
            named = sections[0] if len(sections) == 1 else f"{', '.join(sections[:-1])} and {sections[-1]}"
            return f"This judge is beyond its bounds in {bad} of {held} lines ({named}){looks}."
        if looks:
            return f"No line is clearly beyond its bound; {self.counts['look']} of {held} want a look."
        return f"All {held} lines that could be held against a bound are within it."


@dataclass(frozen=True)
class _Panel:
    title: str
    note: str
    svg: "Markup"


def write_audit(report: AuditReport, path: Path) -> None:
    """Write the page under a temporary name, then rename it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(render_audit(report), encoding="utf-8")
    partial.replace(path)


def render_audit(report: AuditReport) -> str:
    """Return the page as text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"interval": write_interval, "bound": write_bound}
    template = environment.from_string((files("evaluation") / "audit.html.jinja").read_text(encoding="utf-8"))
    sections = [(name, list(lines)) for name, lines in groupby(report.lines, key=lambda line: line.section)]
    return template.render(
        report=report,
        probing=report.probing,
        sections=sections,
        advice=_advise(report),
        panels=_panels(report),
        marks=_MARKS,
        colours=COLOURS,
    )


@dataclass(frozen=True)
class _Advice:
    section: str
    state: State
    text: str


def _advise(report: AuditReport) -> list[_Advice]:
    """Say what to do about each section that has a line beyond its bound, the bad ones first."""
    states: dict[str, State] = {}
    for state in ("bad", "look"):
        for line in report.lines:
            if line.state == state:
                states.setdefault(line.section, state)
    return [_Advice(section, state, _ADVICE[section]) for section, state in states.items()]


def _panels(report: AuditReport) -> list[_Panel]:
    from markupsafe import Markup

    def dots(name: str, section: str, unit: str = "share") -> str | None:
        return lines_panel(name, [line for line in report.lines if line.section == section and line.unit == unit])

    lengths = cloud_panel("lengths", report.lengths, "length", "score")
    repeats = cloud_panel("repeats", report.repeats, "first score", "second score")
    apart = "Real answers, as standard deviations from their prompt's mean"
    drawn = [
        ("Null answers", "How often they beat a real answer; a sound judge stays in the shade", dots("null", NULLS)),
        ("Injected verdicts", "Change of the win rate by what is appended", dots("injected", INJECTED, "points")),
        ("Score by length", apart, lengths),
        ("Padded answers", "How often padding raises the score", dots("padded", PADDED)),
        ("Scored twice", apart, repeats),
        ("Position", "Duels that were asked in both orders", dots("position", POSITION)),
        ("Calibration", "Pairs that the judge is about equally sure of", reliability_panel(report.bins)),
        ("Agreement with gold", "Share of pairs with the same label", dots("gold", GOLD)),
    ]
    return [_Panel(title, note, Markup(svg)) for title, note, svg in drawn if svg is not None]
