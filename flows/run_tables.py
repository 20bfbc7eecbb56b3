"""Runs on the terminal, in eighty columns: what `flows.run_views` says of them, as tables."""

from typing import Any  # JSON values

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

Json = dict[str, Any]
_COLOURS = {"running": "cyan", "unfinished": "yellow", "finished": "green", "stopped": "red"}


def show_runs(runs: list[Json], console: Console) -> None:
    """Print one row a run; times are UTC."""
    if not runs:
        console.print("No run yet.")
        return
    table = _table("run", "state", "rounds", "good", "gold", "started")
    table.columns[0].min_width = max(len(run["run"]) for run in runs)
    for run in runs:
        name = Text(f"{run['run']}\n").append(f"{run['recipe']}, cycle {run['cycle']}", style="dim")
        if run["detail"]:
            name.append(f"\n{run['detail']}", style=_COLOURS[run["state"]])
        state = Text(run["state"], style=_COLOURS[run["state"]])
        started = _minute(run["created"]).replace(" ", "\n")
        table.add_row(name, state, _rounds(run), str(run["last_good_round"]), _gold(run), started)
    console.print(table)


def show_run(run: Json, console: Console) -> None:
    """Print a run's rounds, their datasets, what is under way and where its files lie."""
    console.print(Text(run["run"], style="bold"))
    began = f"started {_minute(run['created'])} UTC"
    console.print(Text(f"recipe {run['recipe']}, seed {run['seed']}, cycle {run['cycle']}, {began}"))
    console.print(Text.assemble(f"{_rounds(run)} rounds done, ", _state(run), "\n"))
    if run["rounds_detail"]:
        console.print(_rounds_table(run["rounds_detail"]))
        console.print()
        console.print(_datasets_table(run["rounds_detail"]))
        console.print()
    if run["underway"]:
        table = _table("outside finished rounds", "key", "state", "shards")
        for one in run["underway"]:
            table.add_row(one["stage"], Text(one["key"]), one["state"], str(one["shards"]))
        console.print(table)
        console.print()
    show_policy(run["policy"], console)
    paths, logs = run["paths"], run["paths"]["logs"]
    _line(console, f"Folder: {paths['folder']}")
    if paths["report"]:
        _line(console, f"Summary page: {paths['report']}")
    if logs:
        _line(console, f"Newest of {len(logs)} logs: {logs[0]}")


def show_policy(policy: Json, console: Console) -> None:
    """Print where a run's last good policy lies and when it was decided."""
    if policy["round"]:
        when = f", decided {_minute(policy['decided'])} UTC" if policy["decided"] else ""
        _line(console, f"Last good policy of {policy['run']}: round {policy['round']}{when}")
    else:
        _line(console, f"Last good policy of {policy['run']}: round 0, none of its own yet; it started from")
    _line(console, f"  {policy['path']}")
    if policy["base"]:
        _line(console, f"  an adapter on {policy['base']}")


def show_contrast(contrast: Json, console: Console) -> None:
    """Print two runs side by side."""
    table = _table("", "first", "second")
    for label, cell in _CELLS.items():
        table.add_row(label, *(cell(run) for run in contrast["runs"]))
    for name, values in contrast["fields"].items():
        table.add_row(name, *(Text("absent" if value is None else value) for value in values))
    for one in contrast["rounds"]:
        table.add_row(f"round {one['round']}: gold", *(_gold(figures) for figures in one["figures"]))
        table.add_row("  win rate", *(_win_rates(figures) for figures in one["figures"]))
        table.add_row("  gate", *(_gate(figures) for figures in one["figures"]))
    console.print(table)
    stages: dict[str, int] = {}
    for use in contrast["shared"]:
        stages[use["stage"]] = stages.get(use["stage"], 0) + 1
    text = ", ".join(f"{stage} {count}" for stage, count in stages.items()) or "none"
    _line(console, f"Datasets that both used: {text}")


def _rounds_table(rounds: list[Json]) -> Table:
    table = _table("round", "gold", "win rate", "annotator", "KL", "gate")
    for one in rounds:
        figures = one["figures"]
        if figures is None:
            table.add_row(one["title"], "its evaluation is no longer in the store", "", "", "", "")
            continue
        kl = "" if figures["kl"] is None else f"{figures['kl']:.2f}"
        annotator = f"{figures['annotator_before']:.2f} > {figures['annotator_after']:.2f}"
        table.add_row(one["title"], _gold(figures), _win_rates(figures), annotator, kl, _gate(figures))
    return table


def _datasets_table(rounds: list[Json]) -> Table:
    table = _table("round", "stage", "key", "rows", "dropped", "seconds")
    for one in rounds:
        for i, use in enumerate(one["datasets"]):
            drops = ", ".join(f"{reason} {count}" for reason, count in use["drops"].items())
            seconds = "stored" if use["cached"] else f"{use['seconds']:.1f}"
            rows = f"{use['rows_in']} > {use['rows_out']}"
            table.add_row("" if i else one["title"], use["stage"], use["key"], rows, Text(drops), seconds)
    return table


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold underline")
    for name in names:
        table.add_column(escape(name), overflow="fold")
    return table


def _state(run: Json) -> Text:
    return Text(run["state"] + (f": {run['detail']}" if run["detail"] else ""), style=_COLOURS[run["state"]])


def _rounds(run: Json) -> str:
    return f"{run['rounds_done']} of {run['rounds']}" if run["rounds"] else str(run["rounds_done"])


def _gold(figures: Json | None) -> str:
    if figures is None or figures["gold_before"] is None:
        return ""
    return f"{figures['gold_before']:.3f} > {figures['gold_after']:.3f}"


def _win_rates(figures: Json | None) -> str:
    if figures is None:
        return ""
    return f"{figures['win_rate_start']:.1%} start\n{figures['win_rate_old']:.1%} old"


def _gate(figures: Json | None) -> Text:
    if figures is None:
        return Text("")
    passed = figures["decision"] == "pass"
    return Text(figures["decision"], style="green") if passed else Text("keep old", style="red")


def _minute(time: str) -> str:
    """Shorten an ISO time to the minute."""
    return time[:16].replace("T", " ")


def _line(console: Console, text: str) -> None:
    console.print(Text(text), soft_wrap=True)


_CELLS = {
    "run": lambda run: Text(run["run"]),
    "recipe, cycle": lambda run: Text(f"{run['recipe']}, {run['cycle']}"),
    "state": _state,
    "rounds": _rounds,
    "last good round": lambda run: str(run["last_good_round"]),
    "gold": _gold,
}
