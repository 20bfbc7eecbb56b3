"""The command that writes pairs as other tools read them."""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any  # JSON values

import pyarrow as pa
import typer

from flows import alone
from flows.fields import FieldError
from flows.replacing import check_output, replaced
from flows.tables import clear_errors
from flows.terminal import AsJson, print_outcome, user_errors

if TYPE_CHECKING:
    from filtering.formats.importing import PairReader

_CARD = "README.md"
_MARK = "- prefloop\n"  # among the card's tags


class ExportForm(StrEnum):
    """What `prefloop export` writes."""

    prefloop = "prefloop"
    trl = "trl"
    trl_implicit = "trl_implicit"
    trl_conversational = "trl_conversational"
    trl_conversational_implicit = "trl_conversational_implicit"
    hh = "hh"
    ultrafeedback_binarized = "ultrafeedback_binarized"
    sharegpt = "sharegpt"
    alpaca = "alpaca"
    kto = "kto"
    sft = "sft"
    reward_model = "reward_model"
    dataset = "dataset"


_FOR_TRAINERS = {"kto", "sft", "reward_model"}
_LLAMA_FACTORY = {
    "sharegpt": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "system": "system"},
    "alpaca": {
        "prompt": "instruction",
        "query": "input",
        "chosen": "chosen",
        "rejected": "rejected",
        "system": "system",
        "history": "history",
    },
}
_NOTES = {
    "trl_implicit": "answers of a pair that begin alike lose their beginning to the prompt when TRL splits them; "
    "--as trl keeps them apart",
}


def export(
    source: Annotated[
        Path, typer.Option("--input", help="Pairs: a Parquet file or folder of prefloop, or any format it can read.")
    ],
    form: Annotated[
        ExportForm,
        typer.Option(
            "--as",
            help="prefloop, or what other tools read: trl and its variants, hh (HH-RLHF texts), "
            "ultrafeedback_binarized, sharegpt and alpaca (LLaMA-Factory), kto, sft and reward_model (TRL); dataset: "
            "a folder for datasets.load_dataset and the Hub with splits and a card.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(help="A file (.parquet, .json, .jsonl; without an ending the form's own), for dataset a folder."),
    ],
    file_format: Annotated[
        str | None, typer.Option("--format", help="How to read the input; found out if not given.")
    ] = None,
    eval_share: Annotated[
        float | None,
        typer.Option(min=0, max=0.99, help="dataset: share of prompts in its test split, by default 0.05."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write pairs in the format of another tool; pairs that it can't carry go into a ledger beside it."""
    from filtering.formats.importing import PairReader

    with user_errors(), clear_errors(output.resolve().parent):
        if eval_share is not None and form is not ExportForm.dataset:
            raise FieldError(f"export: --eval-share is for --as dataset, not {form.value}")
        reader = PairReader(source, file_format)
        if form is ExportForm.dataset:
            share = 0.05 if eval_share is None else eval_share
            rows, drops, facts = _write_dataset(reader, output, share)
        elif form.value in _FOR_TRAINERS:
            rows, drops, facts = _write_for_trainer(reader, form.value, output)
        else:
            rows, drops, facts = _write_format(reader, form.value, output)
        rows |= alone.write_outputs(output, {"drops": drops if drops.num_rows else None})
        told = {"input": f"{reader.n_rows} rows, read as {reader.format}", "drops": alone.drop_reasons(drops)}
        print_outcome(rows, told | facts, as_json)


_Outcome = tuple[dict[str, int], pa.Table, dict[str, Any]]


class _Groups:
    """The pairs of a source, some at a time, and the rows that are none."""

    def __init__(self, reader: "PairReader") -> None:
        self._reader = reader
        self.drops: list[pa.Table] = []

    def __iter__(self) -> Iterator[pa.Table]:
        for rows in self._reader.read():
            self.drops.append(rows.drops_table())
            if len(rows):
                yield rows.pairs_table(str(self._reader.source))


def _write_format(reader: "PairReader", name: str, output: Path) -> _Outcome:
    from filtering.formats.catalogue import FORMATS
    from filtering.formats.writing import Converted, write_rows

    groups, converted = _Groups(reader), Converted(FORMATS[name])
    path = output if output.suffix else output.with_suffix(converted.format.suffix)
    _check_apart(reader.source, path)

    def all_drops() -> pa.Table:
        return pa.concat_tables([*groups.drops, converted.drops_table()])

    write_rows(_some(converted.convert(groups), path, all_drops), converted.format.schema, path)
    facts: dict[str, Any] = {"note": _NOTES[name]} if name in _NOTES else {}
    if name in _LLAMA_FACTORY:
        entry: dict[str, Any] = {"file_name": path.name, "ranking": True, "columns": _LLAMA_FACTORY[name]}
        facts["dataset_info.json"] = {path.stem: entry | ({"formatting": "sharegpt"} if name == "sharegpt" else {})}
    return {str(path): converted.n_rows}, all_drops(), facts


def _write_for_trainer(reader: "PairReader", name: str, output: Path) -> _Outcome:
    from filtering.formats.writing import write_rows
    from judging.pairing.exports import export_pairs
    from judging.schema import PAIRS

    groups = _Groups(reader)
    pairs = pa.concat_tables([PAIRS.empty_table(), *groups])
    exported = export_pairs(pairs, name)  # type: ignore[arg-type]  one of _FOR_TRAINERS
    path = output if output.suffix else output.with_suffix(".parquet")
    drops = pa.concat_tables([*groups.drops, exported.drops])
    _check_apart(reader.source, path)
    write_rows(_some([exported.rows], path, lambda: drops), exported.rows.schema, path)
    return {str(path): exported.rows.num_rows}, drops, {}


def _write_dataset(reader: "PairReader", folder: Path, eval_share: float) -> _Outcome:
    from filtering.formats.card import read_funnel, write_card
    from filtering.formats.dataset_folder import write_splits
    from generation.config import SplitConfig
    from generation.identity import split_of

    folder = folder.resolve()
    check_output(folder, reader.source, (_CARD, "data"))
    if (folder / _CARD).exists() and _MARK not in (folder / _CARD).read_text(encoding="utf-8", errors="replace"):
        raise FieldError(f"export: {folder / _CARD} is no card of ours: give another --output, or empty it")
    beside = reader.source if reader.source.is_dir() else reader.source.parent
    funnel, config, groups = read_funnel(beside / "funnel.json"), SplitConfig(eval_share=eval_share), _Groups(reader)
    with replaced(folder) as made:
        pairs = _some(groups, folder, lambda: pa.concat_tables(groups.drops))
        splits = write_splits(pairs, made, lambda prompt_id: split_of(prompt_id, config) == "eval")
        (made / _CARD).write_text(write_card(folder.name, splits, eval_share, funnel), encoding="utf-8")
    rows = {str(folder / name): split.n_pairs for name, split in splits.items()}
    return rows, pa.concat_tables(groups.drops), {"card": str(folder / _CARD)}


def _some(tables: Iterable[pa.Table], path: Path, drops: Callable[[], pa.Table]) -> Iterator[pa.Table]:
    """Pass tables on; raise at their end if they held no row, before a file takes its name."""
    n_rows = 0
    for table in tables:
        n_rows += table.num_rows
        yield table
    if not n_rows:
        raise ValueError(f"{path}: no pair is left to write; dropped: {alone.drop_reasons(drops())}")


def _check_apart(source: Path, path: Path) -> None:
    from filtering.formats.source_files import list_files

    if path.exists() and any(path.samefile(file.path) for file in list_files(source)):
        raise FieldError(f"export: --output {path} is the input itself: give another file")
