"""An audit's report as a table on the terminal."""

from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.audit_lines import State, write_bound, write_interval
from evaluation.audit_report import AuditReport

_STYLES: dict[State, str] = {"ok": "green", "look": "yellow", "bad": "bold red", "info": "cyan", "n/a": "dim"}


def show_audit(report: AuditReport, output: Path) -> None:
    """Print every line with its verdict, then what it took and where the page is."""
    table = Table(title=f"{report.probing.judge} ({report.probing.field})", title_justify="left")
    for name in ("", "measure", "verdict", "value", "bound"):
        table.add_column(name, no_wrap=name in ("verdict", "value", "bound"))
    table.add_column("why", overflow="fold", style="dim")
    for section, lines in groupby(report.lines, key=lambda line: line.section):
        table.add_section()
        for place, line in enumerate(lines):
            title, state = section if place == 0 else "", f"[{_STYLES[line.state]}]{line.state}[/]"
            figures = (write_interval(line), write_bound(line))
            table.add_row(title, escape(line.name), state, *map(escape, figures), escape(line.why))
    console = Console()
    console.print(table)
    probing = report.probing
    tokens = "" if probing.tokens_in is None else f", {probing.tokens_in + (probing.tokens_out or 0):,} tokens"
    cost = "" if probing.cost is None else f", cost {probing.cost:.4f}"
    console.print(
        f"{probing.n_answers:,} answers to {probing.n_prompts:,} prompts; {probing.n_judged:,} judged with probes, "
        f"{probing.n_unscored:,} unscored; {probing.seconds:.1f} s{tokens}{cost}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print(f"[bold]{escape(report.verdict)}[/]", highlight=False, soft_wrap=True)
    console.print(f"page: {output / 'audit.html'}", highlight=False, soft_wrap=True)
