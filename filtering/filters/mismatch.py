"""Drop pairs with broken characters, and those whose chosen answer is in another script or language than the prompt.

Three reasons of their own: `encoding` and `prompt_encoding`, traces of a text decoded wrongly (`filtering.encoding`);
`script`, a chosen answer with hardly a letter of a script that the prompt has; `language` (option), prompt and chosen
answer in different languages by py3langid (extra `language`), both with high probability. A model that answers in the
wrong language is a known failure of tuning on English data; no ablation of this filter is known to us, so it drops only
what is plain. Translating and code are its known false positives: prompts that name a language or a script, and pairs
with a code block, pass, and so does an answer in any script that the prompt has a letter of.

Left out: broken characters of the rejected text, a mix of languages within one answer.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple  # Any: JSON values

import numpy as np
import pyarrow as pa
from pydantic import Field

from filtering.encoding import count_traces
from filtering.filter import Facts, Filter, FilterConfig
from filtering.language import count_scripts, has_other_scripts, load_language_finder, names_language
from filtering.measured import Bools, Measured
from filtering.texts import prompt_texts

LanguageFinder = Callable[[str], tuple[str, float]]


class MismatchConfig(FilterConfig, frozen=True):
    """Drop pairs with broken characters, or with a chosen answer in another script or language than the prompt."""

    name: Literal["mismatch"]
    max_encoding_errors: int | None = Field(default=0, ge=0)
    """Most broken characters (runs of them) in the prompt, and in the chosen answer; null does not look at them."""
    min_shared_script: float | None = Field(default=0.1, gt=0, le=1)
    """Least share of the chosen answer's letters in scripts that the prompt has, too; null does not look at it."""
    language: Literal["py3langid"] | None = None
    """What tells languages apart; null does not look at them."""
    max_language_confidence: float = Field(default=0.99, ge=0, le=1)
    """Highest probability of the less certain of two different languages that is kept; lower drops more pairs."""
    min_letters: int = Field(default=50, ge=1)
    """Letters that both texts must have for their scripts and languages to count."""


class Writing(NamedTuple):
    """How the prompt and the chosen answer of a pair are written.

    Attributes:
        letters: Letters of the text with fewer of them.
        shared_script: Share of the answer's letters in scripts of the prompt, in [0, 1]; 1 = it has none.
        may_differ: Whether the prompt may ask for another script or language; False where nothing differs.
        other_language: Probability of the less certain of two different languages; 0 = the same one, or not looked at.
    """

    letters: int
    shared_script: float
    may_differ: bool
    other_language: float


def measured_by(config: MismatchConfig) -> dict[str, Any]:
    """Languages are told apart only where they are asked for."""
    return {"language": config.language}


def measure(pairs: pa.Table, config: MismatchConfig) -> pa.Table:
    """Count broken characters, and compare how prompt and chosen answer are written."""
    prompts, chosen = prompt_texts(pairs["messages"]), pairs["chosen"]
    find = load_language_finder() if config.language else None
    is_plain = ~(has_other_scripts(prompts) | has_other_scripts(chosen))
    alike = Writing(0, 1.0, False, 0.0)
    writings = [
        alike if is_plain[row] and find is None else _compare(pairs["messages"][row].as_py(), chosen[row].as_py(), find)
        for row in range(pairs.num_rows)
    ]
    columns = zip(*writings, strict=True) if writings else [[], [], [], []]
    types = {
        "letters": pa.int64(),
        "shared_script": pa.float64(),
        "may_differ": pa.bool_(),
        "other_language": pa.float64(),
    }
    facts = {name: pa.array(column, kind) for column, (name, kind) in zip(columns, types.items(), strict=True)}
    errors = {"prompt_errors": count_traces(prompts), "chosen_errors": count_traces(chosen)}
    return pa.table({**errors, **facts})


def decide(facts: Facts, config: MismatchConfig) -> list[Measured]:
    """Keep pairs without broken characters whose answer is written as the prompt is."""
    found = list[Measured]()
    if (most := config.max_encoding_errors) is not None:
        chosen, prompt = facts.floats("chosen_errors"), facts.floats("prompt_errors")
        # A text without any is no near miss.
        found.append(Measured(chosen <= most, np.where(chosen > 0, chosen, np.nan), most, "encoding"))
        found.append(Measured(prompt <= most, np.where(prompt > 0, prompt, np.nan), most, "prompt_encoding", "prompt"))
    counts = ~facts["may_differ"] & (facts["letters"] >= config.min_letters)
    if (least := config.min_shared_script) is not None:
        shared = facts.floats("shared_script")
        found.append(_where(counts, shared >= least, shared, least, "script"))
    if config.language is not None:
        other, highest = facts.floats("other_language"), config.max_language_confidence
        found.append(_where(counts, (other <= highest) | (other == 0), other, highest, "language"))
    return found


def _where(counts: Bools, keep: Bools, values: np.ndarray, threshold: float, reason: str) -> Measured:
    return Measured(keep | ~counts, np.where(counts, values, np.nan), threshold, reason)


def _compare(messages: list[dict[str, str]], chosen: str, find: LanguageFinder | None) -> Writing:
    """Compare an answer with a conversation; system messages count only for what they ask for."""
    whole = "\n".join(message["content"] for message in messages)
    prompt = "\n".join(message["content"] for message in messages if message["role"] != "system")
    in_prompt, in_chosen = count_scripts(prompt), count_scripts(chosen)
    n_chosen = int(in_chosen.sum())
    shared = float(in_chosen[in_prompt > 0].sum() / n_chosen) if n_chosen else 1.0
    other = 0.0 if find is None else _other_language(prompt, chosen, find)
    if shared == 1 and other == 0:
        return Writing(min(int(in_prompt.sum()), n_chosen), 1.0, False, 0.0)
    may_differ = "```" in whole or "```" in chosen or names_language(whole)
    return Writing(min(int(in_prompt.sum()), n_chosen), shared, may_differ, other)


def _other_language(prompt: str, chosen: str, find: LanguageFinder) -> float:
    (language, sure), (other, other_sure) = find(prompt), find(chosen)
    return 0.0 if language == other else min(sure, other_sure)


MISMATCH = Filter(MismatchConfig, ("messages", "chosen"), measure, decide, measured_by)
