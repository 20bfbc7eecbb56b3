"""What `prefloop sft` and `prefloop train-rm` are given: answers or pairs in anybody's columns, read into ours.

| columns of the rows | what is trained on |
|---|---|
| prompt, completion | the completion (`prefloop pair --as sft` writes these) |
| messages | the last message, which is the assistant's |
| chosen, rejected, ... | pairs in any format of `filtering.formats`: each chosen answer once |
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any  # values of foreign files

import pyarrow as pa

from filtering.formats.importing import PairReader
from generation.config import PromptsConfig
from generation.identity import imported_candidate_id, prompt_id
from generation.messages import BadPromptError, Messages, parse_messages
from generation.schema import CONTEXT_CHARS, DROPS
from generation.sources import Row, read_sources, source_files
from judging.schema import PAIRS
from training.rows.holdout import take_train_split
from training.schema import SFT_ROWS


@dataclass(frozen=True)
class FitInput:
    """Rows of a file and the ledger of those that are none.

    Attributes:
        rows: With the schema SFT_ROWS or PAIRS.
        drops: With the schema DROPS.
        read_as: What the file was found to be.
    """

    rows: pa.Table
    drops: pa.Table
    read_as: str


def read_pairs(source: Path, file_format: str | None) -> FitInput:
    """Read pairs in any format of `filtering.formats`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is empty, broken, or of no known format.
    """
    reader = PairReader(source, file_format)
    rows, drops = [PAIRS.empty_table()], [DROPS.empty_table()]
    for group in reader.read():
        rows.append(group.pairs_table(str(source)))
        drops.append(group.drops_table())
    return FitInput(pa.concat_tables(rows), pa.concat_tables(drops), f"pairs ({reader.format})")


def read_answers(source: Path, file_format: str | None) -> FitInput:
    """Read prompts with good answers, from rows of either or from pairs.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is empty, broken, or lacks the columns.
    """
    columns = None if file_format or source.suffix == ".json" else _columns(source)
    if columns is None or "chosen" in columns:
        pairs = read_pairs(source, file_format)
        answers = _Answers(source.name)
        split = take_train_split(pairs.rows)
        for row in split.pairs.to_pylist():
            answers.add_chosen(row)
        return FitInput(answers.rows(), pa.concat_tables([pairs.drops, split.drops, answers.drops()]), pairs.read_as)
    if {"prompt", "completion"} <= columns:
        read_as, read = "prompt, completion", _read_completion
    elif "messages" in columns:
        read_as, read = "messages", _read_conversation
    else:
        raise ValueError(
            f"{source} has the columns {', '.join(sorted(columns))}; wanted are prompt and completion, or messages "
            "that end with the assistant's, or pairs with chosen and rejected: rename columns"
        )
    answers = _Answers(source.name)
    for number, row in enumerate((row for one in read_sources(PromptsConfig(path=source)) for row in one.rows), 1):
        answers.add(row, number, read)
    return FitInput(answers.rows(), answers.drops(), read_as)


def _columns(source: Path) -> set[str]:
    """Name the columns of the files' first rows; a folder of pairs may hold its ledger too."""
    firsts = [read_sources(PromptsConfig(path=file, limit=1)) for file in source_files(source)]
    found = {name for first in firsts for one in first for name in one.columns}
    if not found:
        raise ValueError(f"{source} is empty: it holds no row")
    return found


class _Answers:
    """Collects rows of SFT_ROWS, each answer once."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._rows: dict[str, Row] = {}
        self._drops: list[Row] = []

    def add(self, row: Row, number: int, read: Any) -> None:
        """Take a row of a file, or drop it."""
        name = f"{self._source}#{number}"
        try:
            messages, completion = read(row)
        except BadPromptError as error:
            self._drop(name, error.reason, str(row))
            return
        prompt = prompt_id(messages)
        id = imported_candidate_id(prompt, self._source, completion)
        texts = {"prompt_id": prompt, "messages": messages, "completion": completion}
        self._add(id, f"{id}#{number}", texts)

    def add_chosen(self, pair: Row) -> None:
        """Take the chosen answer of a pair, as its policy wrote it."""
        own = {
            "token_ids": "chosen_token_ids",
            "finish_reason": "chosen_finish_reason",
            "tokenizer": "chosen_tokenizer",
        }
        known = {name: pair[name] for name in ("prompt_id", "messages", "prompt_hash")}
        known |= {"completion": pair["chosen"]} | {name: pair[column] for name, column in own.items()}
        self._add(pair["chosen_id"], f"{pair['chosen_id']}#{pair['pair_id']}", known)

    def rows(self) -> pa.Table:
        """Give the answers."""
        return pa.Table.from_pylist(list(self._rows.values()), schema=SFT_ROWS)

    def drops(self) -> pa.Table:
        """Give the ledger."""
        return pa.Table.from_pylist(self._drops, schema=DROPS)

    def _add(self, id: str, again: str, values: Row) -> None:
        if id in self._rows:
            self._drop(again, "duplicate_answer", values["completion"])
        else:
            self._rows[id] = {"candidate_id": id} | values

    def _drop(self, id: str, reason: str, context: str) -> None:
        cut = context[:CONTEXT_CHARS].replace("\n", " ")
        drop = {"kind": "candidate", "id": id, "stage": "training", "step": "import", "reason": reason, "context": cut}
        self._drops.append(drop)


def _read_completion(row: Row) -> tuple[Messages, str]:
    messages = parse_messages(row.get("prompt"), None)
    said = row.get("completion")
    if isinstance(said, list) and len(said) == 1 and isinstance(said[0], dict) and said[0].get("role") == "assistant":
        said = said[0].get("content")
    return messages, _text(said)


def _read_conversation(row: Row) -> tuple[Messages, str]:
    said = row.get("messages")
    if not (isinstance(said, list) and said and isinstance(said[-1], dict)):
        raise BadPromptError("bad_messages")
    if said[-1].get("role") != "assistant":
        raise BadPromptError("last_not_assistant")
    return parse_messages(said[:-1], None), _text(said[-1].get("content"))


def _text(said: Any) -> str:
    if not isinstance(said, str):
        raise BadPromptError("bad_completion")
    return said
