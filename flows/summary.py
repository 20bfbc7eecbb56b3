"""What a finished run shows on the terminal."""

from typing import Any  # JSON values

from rich.console import Console
from rich.table import Table


def show_summary(summary: dict[str, Any], console: Console) -> None:
    """Print a row a round, the last good policy, where the seconds went and where the page lies."""
    table = Table(title=summary["run"], title_justify="left")
    for name in (
        "round",
        "gold",
        "95 % of the change",
        "pass",
        "win rate: start, old",
        "annotator",
        "KL",
        "tokens",
        "gate",
    ):
        table.add_column(name, justify="left" if name == "gate" else "right")
    for figures in summary["rounds"]:
        table.add_row(*_cells(figures))
    console.print(table)
    final = summary["final"]
    console.print(
        f"Last good policy: round {final['round']}, gold {final['gold']:.3f}, "
        f"win rate over the start {final['win_rate_start']:.1%}"
    )
    console.print(f"  {final['policy']['adapter'] or final['policy']['model']}", soft_wrap=True, highlight=False)
    times = summary["seconds_by"]
    console.print(
        f"{summary['built_stages']} datasets built, {summary['cached_stages']} from the store; "
        f"{summary['seconds']:.1f} s: stages {times['stages']:.1f}, "
        f"imports {times['imports']:.1f}, Prefect {times['prefect']:.1f}, own {times['own']:.1f}",
        soft_wrap=True,
    )
    console.print(f"Summary page: {summary['report']}", soft_wrap=True, highlight=False)


def _cells(figures: dict[str, Any]) -> list[str]:
    low, high = figures["gold_delta_ci95"]
    passed = "" if figures["pass_after"] is None else f"{figures['pass_before']:.1%} > {figures['pass_after']:.1%}"
    accepted = figures["decision"] == "pass"
    return [
        str(figures["round"]),
        f"{figures['gold_before']:.3f} > {figures['gold_after']:.3f}",
        f"{low:+.3f} to {high:+.3f}",
        passed,
        f"{figures['win_rate_start']:.1%}, {figures['win_rate_old']:.1%}",
        f"{figures['annotator_before']:.2f} > {figures['annotator_after']:.2f}",
        "" if figures["kl"] is None else f"{figures['kl']:.2f}",
        "" if figures["mean_tokens"] is None else f"{figures['mean_tokens']:.1f}",
        "[green]pass[/]" if accepted else "[red]old one kept[/]",
    ]
