"""What a finished run shows on the terminal."""

from typing import Any  # JSON values

from rich.console import Console
from rich.table import Table


def show_summary(summary: dict[str, Any], console: Console) -> None:
    """Print a row a round, the last good policy, where the seconds went and where the page lies.

    Under a score stands the 95 % interval of its change; win rates are of the round's new policy, ties half;
    the length is the mean of its answers in tokens.
    """
    table = Table(
        title=summary["run"], title_justify="left", box=None, padding=(0, 1, 0, 0), header_style="bold underline"
    )
    for name in ("round", "gold, change", "passed", "win rate", "annotator", "KL, len", "gate"):
        table.add_column(name, no_wrap=True, overflow="ignore")
    for figures in summary["rounds"]:
        table.add_row(*_cells(figures))
    console.print(table)
    final = summary["final"]
    if summary["stopped"]:
        console.print(f"Stopped: {summary['stopped']['reason']}", soft_wrap=True, highlight=False)
    console.print(
        f"Last good policy: round {final['round']}, gold {final['gold']:.3f}, "
        f"win rate over the start {final['win_rate_start']:.1%}",
        soft_wrap=True,
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
    kl = "" if figures["kl"] is None else f"{figures['kl']:.2f}"
    tokens = "" if figures["mean_tokens"] is None else f"{figures['mean_tokens']:.1f}"
    return [
        f"{figures['round']}\nretry {figures['attempt']}" if figures["attempt"] else str(figures["round"]),
        f"{figures['gold_before']:.3f} > {figures['gold_after']:.3f}\n{low:+.3f} to {high:+.3f}",
        passed,
        f"{figures['win_rate_start']:.1%} start\n{figures['win_rate_old']:.1%} old",
        f"{figures['annotator_before']:.2f} > {figures['annotator_after']:.2f}",
        f"{kl}\n{tokens}",
        "[green]pass[/]" if figures["decision"] == "pass" else "[red]keep old[/]",
    ]
