"""Keep a few pairs of each prompt: those with the largest margins.

Prompts are compared as in `filtering.filters.duplicates`, system prompt included. A prompt that stands often, because
sources overlap or a rule makes many pairs of it, weighs as often in the loss. Rules such as all_pairs do that on
purpose, so no preset has this filter. Prompts that are nearly the same are `near_duplicates`' business.
"""

from typing import Literal

import pyarrow as pa
from pydantic import Field

from filtering.filter import Facts, Filter, FilterConfig
from filtering.hashes import hash_texts, number_groups, plain_texts
from filtering.measured import Measured
from filtering.ranks import keep_best
from filtering.texts import prompt_texts


class DuplicatePromptsConfig(FilterConfig, frozen=True):
    """Keep at most so many pairs of one prompt, those with the largest margins."""

    name: Literal["duplicate_prompts"]
    max_pairs: int = Field(default=1, ge=1)
    """Most pairs of one prompt that are kept; higher keeps more."""


def measure(pairs: pa.Table, _: DuplicatePromptsConfig) -> pa.Table:
    """Hash the prompts."""
    return hash_texts(plain_texts(prompt_texts(pairs["messages"])))


def decide(facts: Facts, config: DuplicatePromptsConfig) -> list[Measured]:
    """Keep the best pairs of each prompt."""
    prompts = number_groups(facts["low"], facts["high"])
    return [keep_best(prompts, facts.best_first, config.max_pairs, "duplicate_prompt", "prompt")]


DUPLICATE_PROMPTS = Filter(DuplicatePromptsConfig, ("messages",), measure, decide)
