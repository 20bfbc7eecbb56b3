"""Pairs in, a folder that `datasets.load_dataset` and the Hub read out: a Parquet file a split, and a dataset card.

FOLDER/README.md                            the card, its YAML header names the files of each split
FOLDER/data/train-00000-of-00001.parquet    rows as TRL's trainers read them, with ids, scores and sources
FOLDER/data/test-00000-of-00001.parquet     absent where no prompt falls into it
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from filtering.formats.format import Row
from filtering.formats.identities import hash_prompt
from filtering.formats.trl_conversational import TRL_CONVERSATIONAL
from filtering.formats.writing import RowWriter, parquet_writer

_BESIDE = ("pair_id", "prompt_id", "chosen_score", "rejected_score", "margin", "source")
SCHEMA = pa.schema(
    [
        *TRL_CONVERSATIONAL.schema,
        ("pair_id", pa.string()),
        ("prompt_id", pa.string()),  # hash of the prompt
        ("chosen_score", pa.float64()),  # null = unknown
        ("rejected_score", pa.float64()),
        ("margin", pa.float64()),  # chosen_score - rejected_score
        ("source", pa.string()),
    ]
)
SPLITS = ("train", "test")


@dataclass
class SplitCounts:
    """What a split holds.

    Attributes:
        n_pairs: Its pairs.
        prompts: Hashes of its prompts.
        sources: Pairs by source.
        chosen_chars: Characters of all chosen answers.
        rejected_chars: Characters of all rejected answers.
    """

    n_pairs: int = 0
    prompts: set[int] = field(default_factory=set)
    sources: Counter[str | None] = field(default_factory=Counter)
    chosen_chars: int = 0
    rejected_chars: int = 0

    def add(self, pairs: pa.Table, prompts: Iterable[str]) -> None:
        """Count pairs."""
        self.n_pairs += pairs.num_rows
        self.prompts.update(int(prompt[:16], 16) for prompt in prompts)
        self.sources.update(pairs["source"].to_pylist())
        self.chosen_chars += pc.sum(pc.utf8_length(pairs["chosen"]), min_count=0).as_py()
        self.rejected_chars += pc.sum(pc.utf8_length(pairs["rejected"]), min_count=0).as_py()


def write_splits(groups: Iterable[pa.Table], folder: Path, is_test: Callable[[str], bool]) -> dict[str, SplitCounts]:
    """Write pairs into the files of their splits, all pairs of a prompt into one.

    Args:
        groups: Tables of `judging.schema.PAIRS`.
        folder: The folder `data` is made in.
        is_test: Whether the prompt with this hash is held out.

    Returns:
        The counts of each split that holds a pair.
    """
    counts: dict[str, SplitCounts] = {}
    (folder / "data").mkdir(parents=True)
    with ExitStack() as files:
        writers: dict[str, RowWriter] = {}
        for pairs in groups:
            prompts = [hash_prompt(messages) for messages in pairs["messages"].to_pylist()]
            for split, part, named in _divide(pairs, prompts, is_test):
                if split not in writers:
                    path = folder / "data" / f"{split}-00000-of-00001.parquet"
                    writers[split] = files.enter_context(parquet_writer(path, SCHEMA))
                writers[split].write_table(_as_rows(part))
                counts.setdefault(split, SplitCounts()).add(part, named)
    return {split: counts[split] for split in SPLITS if split in counts}


def _divide(
    pairs: pa.Table, prompts: list[str], is_test: Callable[[str], bool]
) -> Iterator[tuple[str, pa.Table, list[str]]]:
    held_out = [is_test(prompt) for prompt in prompts]
    for split, mask in (("train", [not one for one in held_out]), ("test", held_out)):
        if any(mask):
            yield split, pairs.filter(pa.array(mask)), [p for p, is_in in zip(prompts, mask, strict=True) if is_in]


def _as_rows(pairs: pa.Table) -> pa.Table:
    def row(pair: Row) -> Row:
        return TRL_CONVERSATIONAL.write(pair) | {name: pair[name] for name in _BESIDE}

    needed = pairs.select(["messages", "chosen", "rejected", *_BESIDE])
    return pa.Table.from_pylist([row(pair) for pair in needed.to_pylist()], schema=SCHEMA)
