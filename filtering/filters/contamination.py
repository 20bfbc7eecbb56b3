"""Drop pairs whose prompt or chosen answer holds a text of an eval set: training on them makes the eval worthless.

Two rules, each for runs of n words (see `filtering.overlap`). GPT-3's (arXiv 2005.14165): any run of 13 words in
common. Tulu 3's (arXiv 2411.15124): runs of 8 words in common that cover more than half of an eval text. The first
finds parts of long texts; the second also texts with a changed word here and there, and a phrase that everybody uses
("what is the difference between the") covers too little to count. In a text of fewer than 16 words one run of 8 covers
more than half: look at the drops of such sets. Tulu 3 found that 11 % of NuminaMath-TIR hit the MATH test set.

Eval texts shorter than n words are compared as a whole, with each message and the chosen answer. The rejected answer is
not looked at, since it is not what training teaches. Paraphrases and translations pass.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from typing import Annotated, Any, Literal  # Any: JSON values

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BeforeValidator, Field

from filtering.filter import HOW, Facts, Filter, FilterConfig, Ints
from filtering.measured import Floats, Measured
from filtering.overlap.eval_sets import EvalSet
from filtering.overlap.index import EvalIndex, measure_overlap
from filtering.overlap.index_cache import describe_sets, load_index
from filtering.overlap.words import Words, hash_grams, hash_whole, hash_words, split_blocks

GramLength = Literal[8, 13]
_SIDES = ("prompt", "chosen")


def _name_path(value: Any) -> Any:
    return value if isinstance(value, dict | EvalSet) else {"path": value}


class ContaminationConfig(FilterConfig, frozen=True):
    """Drop pairs whose prompt or chosen answer shares runs of words with a text of an eval set."""

    name: Literal["contamination"]
    eval_sets: tuple[Annotated[EvalSet, BeforeValidator(_name_path)], ...] = Field(min_length=1, json_schema_extra=HOW)
    """Files of eval texts: paths, or `{path: ..., column: ...}`."""
    n: tuple[GramLength, ...] = Field(default=(13, 8), min_length=1, max_length=2)
    """Words of a run, 13 or 8; a pair is dropped if either rule says so."""
    max_share_13: float = Field(default=0.0, ge=0, lt=1)
    """Largest share of an eval text that runs of 13 words in common may cover; 0 = not one run."""
    max_share_8: float = Field(default=0.5, ge=0, lt=1)
    """Largest share of an eval text that runs of 8 words in common may cover; lowering it drops more pairs."""


def measured_by(config: ContaminationConfig) -> dict[str, Any]:
    """Shares are of these files' texts."""
    return {"eval_sets": describe_sets(config.eval_sets), "n": sorted(set(config.n))}


def measure(pairs: pa.Table, config: ContaminationConfig) -> pa.Table:
    """Measure the largest share of an eval text that stands in each prompt and chosen answer.

    Raises:
        ValueError: An eval set is empty, damaged or without texts.
    """
    indices = {n: load_index(config.eval_sets, n) for n in sorted(set(config.n))}
    messages = pairs["messages"].combine_chunks()
    counts = pc.fill_null(pc.list_value_length(messages), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    contents = pc.struct_field(pc.list_flatten(messages), "content")
    facts = _measure_texts(contents, np.append(0, np.cumsum(counts)), indices, "prompt")
    return pa.table(
        facts | _measure_texts(pairs["chosen"].combine_chunks(), np.arange(len(pairs) + 1), indices, "chosen")
    )


def decide(facts: Facts, config: ContaminationConfig) -> list[Measured]:
    """Hold each side's shares against the limits."""
    limits = {13: config.max_share_13, 8: config.max_share_8}
    found = list[Measured]()
    for n in dict.fromkeys(config.n):
        for side in _SIDES:
            share = facts.floats(f"{side}_{n}")
            values = np.where(share > 0, share, np.nan)  # a text with none is no near miss
            found.append(Measured(share <= limits[n], values, limits[n], f"{side}_{n}gram_overlap", side))
    return found


def _measure_texts(texts: pa.StringArray, offsets: Ints, indices: dict[int, EvalIndex], side: str) -> dict[str, Floats]:
    """Measure rows of several texts each, block by block; `offsets` counts the texts before each row, and all."""
    texts = pc.fill_null(texts, "").cast(pa.large_string())
    sizes = np.append(0, np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False)))
    shares = {f"{side}_{n}": np.zeros(len(offsets) - 1) for n in indices}
    for block in split_blocks(np.diff(sizes[offsets])):
        first, last = offsets[block.start], offsets[block.stop]
        words = hash_words(texts.slice(first, last - first))
        within = offsets[block.start : block.stop + 1] - first
        for n, index in indices.items():
            shares[f"{side}_{n}"][block] = _share(words, within, index)
    return shares


def _share(texts: Words, offsets: Ints, index: EvalIndex) -> Floats:
    rows = texts.join(offsets)
    share = measure_overlap(index, hash_grams(rows, index.n), len(offsets) - 1)
    is_whole = np.isin(hash_whole(texts), index.whole)
    row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    share[row[is_whole]] = 1.0
    share[np.isin(hash_whole(rows), index.whole)] = 1.0
    return share


CONTAMINATION = Filter(ContaminationConfig, ("messages", "chosen"), measure, decide, measured_by)
