"""Commands over a workspace: which runs there are, which policy is good, and what nobody needs any more."""

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any  # JSON values

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from flows.terminal import AsJson, Workspace, print_json, user_errors

if TYPE_CHECKING:
    from flows.unused import Findings

runs_app = typer.Typer(help="List the runs of a workspace, show one, compare two.")
_WORKSPACE = Path("workspace")
_RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, or enough of its beginning.")]


@runs_app.callback(invoke_without_command=True)
def runs(context: typer.Context, workspace: Workspace = _WORKSPACE, as_json: AsJson = False) -> None:
    """List the runs of a workspace, show one, compare two."""
    if context.invoked_subcommand is None:
        list_command(workspace, as_json)
    given = {"workspace": str(workspace), "as_json": as_json}
    context.default_map = dict.fromkeys(("list", "show", "compare"), given)  # what stood before the command's name


@runs_app.command("list")
def list_command(workspace: Workspace = _WORKSPACE, as_json: AsJson = False) -> None:
    """List the runs, the newest first: how each stands, its last good round and gold score."""
    from flows.history import list_runs
    from flows.run_tables import show_runs
    from flows.run_views import overview
    from flows.store import Store

    with user_errors():
        store = Store(workspace)
        rows = [overview(store, run) for run in list_runs(store)]
        print_json(rows) if as_json else show_runs(rows, Console())


@runs_app.command("show")
def show_command(run: _RunName, workspace: Workspace = _WORKSPACE, as_json: AsJson = False) -> None:
    """Show a run: every round with its figures and datasets, what is under way, where its files lie."""
    from flows.history import find_run
    from flows.run_tables import show_run
    from flows.run_views import detail
    from flows.store import Store

    with user_errors():
        store = Store(workspace)
        view = detail(store, find_run(store, run))
        print_json(view) if as_json else show_run(view, Console())


@runs_app.command("compare")
def compare_command(
    first: _RunName, second: _RunName, workspace: Workspace = _WORKSPACE, as_json: AsJson = False
) -> None:
    """Compare two runs: recipe fields that differ, figures by round, datasets that both used."""
    from flows.history import find_run
    from flows.run_tables import show_contrast
    from flows.run_views import contrast
    from flows.store import Store

    with user_errors():
        store = Store(workspace)
        view = contrast(store, find_run(store, first), find_run(store, second))
        print_json(view) if as_json else show_contrast(view, Console())


def policy(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN|RECIPE", help="A run, or a recipe's name; without it the newest run.")
    ] = None,
    path: Annotated[bool, typer.Option("--path", help="Print the folder alone, for scripts.")] = False,
    workspace: Workspace = _WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Name the last good policy: where it lies, of which round and run, decided when."""
    from flows.history import find_policy_run
    from flows.run_tables import show_policy
    from flows.run_views import policy_view
    from flows.store import Store

    with user_errors():
        view = policy_view(find_policy_run(Store(workspace), run))
        if Path(view["path"]).is_absolute() and not Path(view["path"]).exists():
            raise ValueError(f"{view['path']}: the last good policy of {view['run']} is no longer there")
        if path:
            typer.echo(view["path"])
        elif as_json:
            print_json(view)
        else:
            show_policy(view, Console())


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; without this nothing changes.")] = False,
    let_go: Annotated[
        list[str], typer.Option("--run", metavar="RUN", help="Let go of this run as well; may be given again.")
    ] = [],  # noqa: B006  typer needs the list
    min_age_h: Annotated[
        float, typer.Option("--min-age", min=0, metavar="HOURS", help="Keep what changed within so many hours.")
    ] = 1.0,
    workspace: Workspace = _WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Find what no run refers to any more, and with --delete remove it."""
    from flows.removal import remove_unused, runs_to_let_go
    from flows.run_views import policy_view
    from flows.store import Store
    from flows.unused import find_unused

    with user_errors():
        store, now = Store(workspace), time.time()
        going = runs_to_let_go(store, let_go, min_age_h * 3600, now) if let_go else []
        findings = find_unused(store, [run.folder for run in going], min_age_h * 3600, now)
        report = _report(findings, [policy_view(run) for run in going])
        if not as_json:
            _show_going(report["runs"])
        if delete:
            gone = remove_unused(store, findings)
            report |= {"deleted": True, "kept_meanwhile": len(findings.datasets) - len(gone)}
        print_json(report) if as_json else _show_unused(report, min_age_h)


def _report(findings: "Findings", policies: list[dict[str, Any]]) -> dict[str, Any]:
    """Count what was found by stage."""
    from flows.unused import n_bytes

    counts, sizes = Counter[str](), Counter[str]()
    for unused in findings.datasets:
        counts[unused.dataset.stage] += 1
        sizes[unused.dataset.stage] += unused.n_bytes
    counts["runs"], sizes["runs"] = len(findings.runs), sum(map(n_bytes, findings.runs))
    counts["leftovers"], sizes["leftovers"] = len(findings.leftovers), sum(map(n_bytes, findings.leftovers))
    return {
        "deleted": False,
        "unused": {name: {"count": count, "bytes": sizes[name]} for name, count in counts.items() if count},
        "bytes": sizes.total(),
        "held": findings.held,
        "young": findings.young,
        "runs": policies,
    }


def _show_going(policies: list[dict[str, Any]]) -> None:
    """Say which policies go with the runs that are let go, before anything does."""
    from flows.run_tables import show_policy

    console = Console()
    for one in policies:
        console.print("Let go:", end=" ")
        show_policy(one, console)


def _show_unused(report: dict[str, Any], min_age_h: float) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold underline")
    table.add_column("what no run refers to")
    table.add_column("count", justify="right")
    table.add_column("size", justify="right")
    count = sum(found["count"] for found in report["unused"].values())
    for name, found in report["unused"].items():
        table.add_row(name, str(found["count"]), decimal(found["bytes"]))
    table.add_row("total", str(count), decimal(report["bytes"]))
    console = Console()
    console.print(table)
    if report["held"]:
        console.print(f"{report['held']} more are being built by a live process: they stay.")
    if report["young"]:
        console.print(
            f"{report['young']} more changed within {min_age_h:g} h: they stay, in case somebody is about to use them "
            "(--min-age 0 takes them too)."
        )
    if report["deleted"]:
        kept = report["kept_meanwhile"]
        console.print("Removed." + (f" {kept} stay after all: a run has begun to use them." if kept else ""))
    else:
        console.print("Nothing was changed; --delete removes it." if count else "Nothing to remove.")
