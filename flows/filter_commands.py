"""The command that filters anybody's preference pairs."""

import time
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any  # JSON values

import typer
from rich.console import Console
from rich.table import Table

from flows.display import terminal_display
from flows.fields import FieldError, check, read_settings
from flows.terminal import AsJson, Verbose, logs, print_json, stderr, user_errors


class PresetName(StrEnum):
    """Sets of filters."""

    light = "light"
    standard = "standard"
    strict = "strict"


def filter_command(
    source: Annotated[
        Path,
        typer.Option(
            "--input", help="Parquet, JSONL, JSON or CSV with pairs, or a folder of such files. The format is detected."
        ),
    ],
    output: Annotated[
        Path, typer.Option(help="Folder for the kept pairs, the ledger of drops, and the funnel as a page and as JSON.")
    ],
    preset: Annotated[PresetName, typer.Option(help="Which filters run; docs/filtering.md lists them.")] = (
        PresetName.standard
    ),
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="FILTER.FIELD=VALUE",
            help="Another threshold, such as similarity.max_similarity=0.8, or a further filter with its fields.",
        ),
    ] = [],  # noqa: B006  typer needs the list
    without: Annotated[
        list[str], typer.Option(metavar="FILTER", help="Leave a filter of the preset out; give it again for several.")
    ] = [],  # noqa: B006
    file_format: Annotated[
        str | None, typer.Option("--format", help="How to read the input; docs/filtering.md lists the formats.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Measure on a Ray cluster: its address, auto, or local to start one here. All its machines must see "
            "OUTPUT's folder.",
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Drop pairs that would teach little or something wrong; every drop is kept with its reason.

    What was measured stays in OUTPUT.facts: given again with other thresholds, the command only decides anew. Killed
    and given again, it goes on where it stopped.
    """
    from filtering.config import FilteringConfig
    from flows.filter_alone import filter_file

    with user_errors(), logs(verbose), terminal_display(stderr):
        started = time.monotonic()
        change: dict[str, Any] = read_settings(settings)
        if both := change.keys() & set(without):
            raise FieldError(f"--set and --without both name {', '.join(sorted(both))}: give one of the two")
        change |= dict.fromkeys(without)
        config = check(FilteringConfig, {"preset": preset.value, "change": change}, "--set, --without")
        with _cluster(ray) as mapper:
            filtered = filter_file(source, output, config, file_format, mapper)
        seconds = round(time.monotonic() - started, 1)
        if as_json:
            print_json(filtered.to_json() | {"seconds": seconds, "output": str(output)})
        else:
            _show(filtered.to_json(), output, seconds)


def _cluster(address: str | None) -> AbstractContextManager[Any]:
    from filtering.on_ray import ray_mapper

    return ray_mapper(None if address == "local" else address) if address else nullcontext()


def _show(counts: dict[str, Any], output: Path, seconds: float) -> None:
    table = Table(title=f"{counts['in']:,} pairs ({counts['format']}), {counts['kept']:,} kept")
    for name, justify in (("filter", "left"), ("in", "right"), ("dropped", "right"), ("share", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    left = counts["in"]
    for step, dropped in counts["dropped"].items():
        table.add_row(step, f"{left:,}", f"{dropped:,}", f"{dropped / left:.1%}" if left else "")
        left -= dropped
    console = Console()
    console.print(table)
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts["reasons"].items()) or "none"
    console.print(f"reasons: {reasons}", highlight=False, soft_wrap=True)
    for when, lengths in counts["lengths"].items():
        gap = "unknown" if lengths["relative_gap"] is None else f"{lengths['relative_gap']:+.1%}"
        said = f"{lengths['chosen_mean']:,.0f} characters chosen, {lengths['rejected_mean']:,.0f} rejected ({gap})"
        console.print(f"mean length {when}: {said}", highlight=False, soft_wrap=True)
    console.print(f"{output / 'funnel.html'} shows what was dropped; {seconds} s", highlight=False, soft_wrap=True)
