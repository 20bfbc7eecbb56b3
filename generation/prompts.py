"""Prompts from files or the Hub: each row becomes a prompt of a split and a round, or stands in the drop ledger."""

import json
import logging
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from typing import get_args

import pyarrow as pa
import pyarrow.compute as pc

from generation.config import PromptsConfig
from generation.drops import Drop, drops_table
from generation.identity import Split, order_key, prompt_id, split_of
from generation.messages import BadPromptError, parse_messages
from generation.schema import PROMPTS
from generation.sources import Row, Source, missing_column, read_sources

logger = logging.getLogger(__name__)

_ANSWER_COLUMNS = ("reference_answer", "answer")
_DEFAULT_PROMPT_COLUMN = PromptsConfig.model_fields["prompt_column"].default


@dataclass(frozen=True)
class PromptTables:
    """What reading prompts gives: together the tables hold every row of the source."""

    prompts: pa.Table  # schema PROMPTS, in the source's order
    drops: pa.Table  # schema DROPS


@dataclass(frozen=True)
class PromptColumns:
    """The columns of a source that a prompt is made of; None = the source has none."""

    prompt: str
    answer: str | None
    split: str | None
    apart: tuple[str, ...] = ()  # columns that are no part of a prompt, not even of its `meta`


def read_prompts(config: PromptsConfig, run_seed: int, used: Set[str] = frozenset()) -> PromptTables:
    """Read, check and split prompts, drop repeated ones, and deal train prompts out to rounds if `per_round` is set.

    Args:
        config: Where the prompts are and how they are shared out.
        run_seed: Decides which train prompts each round gets.
        used: Ids of train prompts to leave out, since earlier runs trained on them.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is broken, a column is missing, a split is unknown or no prompt is left.
    """
    sources = read_sources(config)
    rows: dict[str, Row] = {}
    left_out: set[str] = set()
    drops: list[Drop] = []
    for source in sources:
        columns = find_columns(source, config)
        for number, row in enumerate(source.rows, start=1):
            try:
                prompt = make_prompt(row, columns, source, number, config)
            except BadPromptError as error:
                drops.append(_drop(f"{source.name}#{number}", "messages", error.reason, row.get(columns.prompt)))
                continue
            if (id := prompt["prompt_id"]) in rows or id in left_out:
                drops.append(
                    _drop(f"{id}#{source.name}#{number}", "duplicates", "duplicate_prompt", row[columns.prompt])
                )
            elif id in used and prompt["split"] == "train":
                left_out.add(id)
                drops.append(_drop(id, "earlier_runs", "used_by_earlier_run", row[columns.prompt]))
            else:
                rows[id] = prompt
    _check(sources, len(rows), drops)
    prompts = pa.Table.from_pylist(list(rows.values()), schema=PROMPTS)
    if config.per_round is not None:
        prompts = _deal_out(prompts, run_seed, config.per_round)
    return PromptTables(prompts, drops_table(drops))


def assign_rounds(prompts: pa.Table, rounds: int) -> pa.Table:
    """Divide the train prompts evenly over rounds, in the order of their ids; sizes differ by one at most."""
    ids = sorted(_train_ids(prompts))
    return _with_rounds(prompts, {id: index * rounds // len(ids) + 1 for index, id in enumerate(ids)})


def take_round(prompts: pa.Table, round: int) -> pa.Table:
    """Take the train prompts of a round."""
    return prompts.filter(pc.field("round") == round)


def take_split(prompts: pa.Table, split: str, limit: int | None) -> pa.Table:
    """Take a split's prompts, or the first `limit` of them in the order of their ids, which are hashes."""
    chosen = prompts.filter(pc.field("split") == split)
    return chosen if limit is None else chosen.sort_by("prompt_id").slice(0, limit)


def find_columns(source: Source, config: PromptsConfig, apart: tuple[str, ...] = ()) -> PromptColumns:
    """Find the columns that prompts are made of, leaving out those `apart`.

    Raises:
        ValueError: The prompt's column is missing, or that of the answer where the recipe names one.
    """
    prompt, answer, present = config.prompt_column, config.answer_column, source.columns
    if prompt == _DEFAULT_PROMPT_COLUMN and prompt not in present and "messages" in present:
        prompt = "messages"
    if source.rows and prompt not in present:
        raise missing_column(source, prompt, "prompts.prompt_column")
    if source.rows and answer is not None and answer not in present:
        raise missing_column(source, answer, "prompts.answer_column")
    answer = answer or next((column for column in _ANSWER_COLUMNS if column in present), None)
    return PromptColumns(prompt, answer, "split" if "split" in present else None, apart)


def make_prompt(row: Row, columns: PromptColumns, source: Source, number: int, config: PromptsConfig) -> Row:
    """Turn a source's row into one of the prompts table, its round left open.

    Raises:
        BadPromptError: It holds no conversation that can be answered.
        ValueError: It names a split that there is not.
    """
    messages = parse_messages(row.get(columns.prompt), config.system_prompt)
    id = prompt_id(messages)
    given = row.get(columns.split) if columns.split else None
    return {
        "prompt_id": id,
        "messages": messages,
        "reference_answer": as_text(row.get(columns.answer)) if columns.answer else None,
        "source": source.name,
        "split": split_of(id, config.split) if given is None else _split(given, source, number),
        "round": None,
        "meta": _meta(row, columns),
    }


def _split(given: object, source: Source, number: int) -> Split:
    for split in get_args(Split):
        if given == split:
            return split
    hint = "; call it eval" if given in ("test", "validation", "valid", "dev") else ""
    raise ValueError(
        f"{source.name}, row {number}: split {given!r} is none of train, eval (held out for the gate) and vault{hint}, "
        "or take the split column out to have the prompts split by hash"
    )


def _meta(row: Row, columns: PromptColumns) -> str:
    used = (columns.prompt, columns.answer, columns.split, *columns.apart)
    rest = {column: value for column, value in row.items() if column not in used}
    return json.dumps(rest, ensure_ascii=False, default=str)


def as_text(value: object) -> str | None:
    """Give a text as it is and any other value as JSON."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _drop(id: str, step: str, reason: str, value: object) -> Drop:
    return Drop("prompt", id, "prompts", step, reason, context=as_text(value))


def _check(sources: list[Source], n_prompts: int, drops: list[Drop]) -> None:
    n_rows = sum(len(source.rows) for source in sources)
    reasons = dict(Counter(drop.reason for drop in drops))
    if n_rows != n_prompts + len(drops):
        raise RuntimeError(f"{n_rows} rows were read, but {n_prompts} prompts and {len(drops)} drops came of them")
    if not n_prompts:
        names = ", ".join(source.name for source in sources)
        raise ValueError(f"no prompt among the {n_rows} rows of {names}; dropped: {reasons or 'none'}")
    logger.info("prompts: %d rows in, %d out, dropped: %s", n_rows, n_prompts, reasons)


def _deal_out(prompts: pa.Table, run_seed: int, per_round: int) -> pa.Table:
    ids = sorted(_train_ids(prompts), key=lambda id: order_key(run_seed, id))
    return _with_rounds(prompts, {id: index // per_round + 1 for index, id in enumerate(ids)})


def _train_ids(prompts: pa.Table) -> list[str]:
    return take_split(prompts, "train", None)["prompt_id"].to_pylist()


def _with_rounds(prompts: pa.Table, rounds: dict[str, int]) -> pa.Table:
    column = pa.array([rounds.get(id) for id in prompts["prompt_id"].to_pylist()], type=pa.int32())
    return prompts.set_column(prompts.schema.get_field_index("round"), PROMPTS.field("round"), column)
