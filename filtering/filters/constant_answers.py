"""Drop pairs whose text answers many different prompts.

A text that pleases a judge whatever it was asked is an attack on the judge: one constant answer reaches a
length-controlled win rate of 86.5 % on AlpacaEval 2.0 (arXiv 2410.07137). As a chosen answer it teaches to say it
always. All pairs of such a text go, because none of them is about its prompt; so no other text's count changes.
Prompts and answers are compared as in `filtering.filters.duplicates`. Short answers repeat rightly ("Yes.", "4", a
refusal in one sentence), so they pass. Texts that are constant but for a few words are not found.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from filtering.filter import Facts, Filter, FilterConfig, Ints
from filtering.hashes import hash_texts, number_groups, plain_texts
from filtering.measured import Measured
from filtering.texts import prompt_texts


class ConstantAnswersConfig(FilterConfig, frozen=True):
    """Drop pairs whose chosen text stands under many different prompts."""

    name: Literal["constant_answers"]
    max_prompts: int = Field(default=3, ge=1)
    """Most different prompts that one text may answer; higher keeps more."""
    min_chars: int = Field(default=100, ge=0)
    """Shortest text that is looked at, in characters without white space at the ends; lower drops more."""
    sides: Literal["chosen", "either"] = "chosen"
    """Whose texts are looked at; `either` counts chosen and rejected ones apart."""


def measure(pairs: pa.Table, _: ConstantAnswersConfig) -> pa.Table:
    """Hash the prompts and both texts, and count the characters of these."""
    facts = dict[str, pa.ChunkedArray]()
    texts = {"prompt": prompt_texts(pairs["messages"]), "chosen": pairs["chosen"], "rejected": pairs["rejected"]}
    for name, column in texts.items():
        hashes = hash_texts(plain_texts(column))
        facts |= {f"{name}_low": hashes["low"], f"{name}_high": hashes["high"]}
        if name != "prompt":
            facts[f"{name}_chars"] = pc.utf8_length(pc.utf8_trim_whitespace(column))
    return pa.table(facts)


def decide(facts: Facts, config: ConstantAnswersConfig) -> list[Measured]:
    """Count the prompts of each text and hold that against the limit."""
    prompt = number_groups(facts["prompt_low"], facts["prompt_high"])
    sides: tuple[Literal["chosen", "rejected"], ...] = ("chosen", "rejected")
    found = list[Measured]()
    for side in sides if config.sides == "either" else sides[:1]:
        counts = _count_prompts(number_groups(facts[f"{side}_low"], facts[f"{side}_high"]), prompt)
        counts = np.where(facts[f"{side}_chars"] >= config.min_chars, counts, 1.0)
        values = np.where(counts > 1, counts, np.nan)  # a text of one prompt is no near miss
        found.append(Measured(counts <= config.max_prompts, values, config.max_prompts, "constant_answer", side))
    return found


def _count_prompts(text: Ints, prompt: Ints) -> Ints:
    """Give for each pair how many different prompts its text stands under."""
    order = np.lexsort((prompt, text))
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (text[order][1:] != text[order][:-1]) | (prompt[order][1:] != prompt[order][:-1])
    return np.bincount(text[order][is_new])[text]


CONSTANT_ANSWERS = Filter(ConstantAnswersConfig, ("messages", "chosen", "rejected"), measure, decide)
