"""The command line: `prefloop COMMAND`. Results go to standard output, bars and logs to standard error.

Exit codes: 0 done, 1 the run failed, 2 wrong usage or recipe, 3 a gate stopped it.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn  # JSON values

import typer
from rich.console import Console
from rich.logging import RichHandler

app = typer.Typer(
    name="prefloop",
    help="Make a language model better with its own answers: sample, judge, filter, train, gate, repeat.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
stderr = Console(stderr=True)

FAILED, WRONG_USAGE, GATE_STOPPED = 1, 2, 3

Workspace = Annotated[Path, typer.Option(help="Folder that keeps every stage's results; a rerun goes on from it.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="FIELD=VALUE", help="Override a recipe field, such as generation.k=8.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the logs of the stages and of Prefect.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of the run; without it the recipe's.")]
WORKSPACE = Path("workspace")


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    workspace: Workspace = WORKSPACE,
    seed: Seed = None,
    overrides: Overrides = [],  # noqa: B006  typer needs the list
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Run a recipe: its rounds of sampling, judging, filtering, training and evaluation.

    A run that was interrupted goes on where it stopped: give the same command again.
    """
    with user_errors(), logs(verbose):
        seeds = [] if seed is None else [f"seed={seed}"]
        _run(recipe, [*overrides, *seeds], workspace, as_json)


@app.command()
def demo(
    workspace: Workspace = WORKSPACE,
    seed: Seed = None,
    overrides: Overrides = [],  # noqa: B006  typer needs the list
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Improve the small film-review writer over two rounds, on this machine's CPU."""
    run(Path("demo"), workspace, seed, overrides, as_json, verbose)


@app.command()
def explain(
    recipe: Annotated[Path, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    workspace: Workspace = WORKSPACE,
    seed: Seed = None,
    overrides: Overrides = [],  # noqa: B006  typer needs the list
    as_json: AsJson = False,
) -> None:
    """Show which stages are cached, which would run, and which part of their key changed."""
    from flows.explain import explain_recipe, show_explanation
    from flows.recipe import load_recipe
    from flows.store import Store

    with user_errors():
        seeds = [] if seed is None else [f"seed={seed}"]
        lines = explain_recipe(Store(workspace), load_recipe(recipe, [*overrides, *seeds]))
        print_json(lines) if as_json else show_explanation(lines)


@app.command()
def doctor(workspace: Workspace = WORKSPACE, as_json: AsJson = False) -> None:
    """Check this machine: versions, engines, GPU, disk, the shipped models, Prefect."""
    from flows.doctor import examine, show_findings

    with user_errors():
        findings = examine(workspace)
        print_json([vars(finding) for finding in findings]) if as_json else show_findings(findings)
        if any(finding.state == "bad" for finding in findings):
            raise typer.Exit(FAILED)


def _run(recipe_path: Path, overrides: list[str], workspace: Path, as_json: bool) -> None:
    from flows.recipe import load_recipe

    recipe = load_recipe(recipe_path, overrides)
    quiet_prefect()
    from flows.launch import launch  # imports Prefect, which reads its environment then
    from flows.summary import show_summary

    summary = launch(recipe, workspace, stderr)
    print_json(summary) if as_json else show_summary(summary, Console())
    if summary["rounds"][-1]["decision"] != "pass" and len(summary["rounds"]) < recipe.rounds:
        raise typer.Exit(GATE_STOPPED)


def print_json(value: Any) -> None:
    """Print one JSON value to standard output."""
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


def quiet_prefect() -> None:
    """Set Prefect's environment before it is imported; what the user has set stays."""
    defaults = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


@contextmanager
def logs(verbose: bool) -> Iterator[None]:
    """Send logs to standard error: warnings, or everything."""
    if verbose:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=stderr, show_path=False)],
    )
    yield


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn the errors that a user can mend into a message and an exit code."""
    from flows.child import StageError
    from flows.recipe import RecipeError

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except RecipeError as error:
        _fail(str(error), WRONG_USAGE)
    except (StageError, FileNotFoundError, ValueError, OSError) as error:
        _fail(str(error), FAILED)
    except KeyboardInterrupt:
        _fail("interrupted; what was finished is kept, and the same command goes on from there", FAILED)


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> NoReturn:
    stderr.print(f"[bold red]error:[/] {_escape(message)}", soft_wrap=True)
    raise typer.Exit(code)


def _escape(message: str) -> str:
    from rich.markup import escape

    return escape(message)


def main() -> None:
    """Entry point of the `prefloop` script."""
    app()
