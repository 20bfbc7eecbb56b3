"""A policy's answers to held-out prompts in, two figures that fall when it collapses out.

distinct-2 is that of Li et al. (arXiv 1510.03055), taken within each prompt so that k answers becoming alike shows, and
over the number of bigrams where the paper divides by the number of words. Distinct unigrams and self-BLEU are left out.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Diversity:
    """How varied a policy's answers are."""

    token_entropy: float | None
    """Nats per token: minus the summed log-probs over the number of tokens. For answers drawn at temperature 1 and
    top_p 1 an estimate of the mean entropy of the policy's next token; for others a cross-entropy, which still falls
    when a policy collapses. None = no answer has both its log-prob and its number of tokens."""
    distinct_2: float | None
    """Mean over prompts, in (0, 1], of distinct word bigrams over all word bigrams in the prompt's answers; longer and
    more answers lower it, so compare like with like. Words are what white space separates. None = no answer has two."""


def measure_diversity(candidates: pa.Table) -> Diversity:
    """Measure how varied a policy's answers are.

    Args:
        candidates: Table of `generation.schema.CANDIDATES` of one policy, in any order. Answers without log-probs count
            in distinct-2 only; prompts none of whose answers has two words count in the entropy only.
    """
    return Diversity(_token_entropy(candidates), _distinct_bigrams(candidates))


def _token_entropy(candidates: pa.Table) -> float | None:
    logprob = candidates["logprob_sum"].to_numpy().astype(np.float64)  # null becomes NaN
    n_tokens = candidates["n_tokens"].cast(pa.float64()).to_numpy().astype(np.float64)
    known = np.isfinite(logprob) & (n_tokens > 0)
    return -float(logprob[known].sum() / n_tokens[known].sum()) if known.any() else None


def _distinct_bigrams(candidates: pa.Table) -> float | None:
    prompt, bigram = _number_bigrams(candidates)
    if not bigram.size:
        return None
    n_bigrams = bigram.max() + 1
    of_prompt = np.sort(prompt * n_bigrams + bigram)
    distinct = of_prompt[np.diff(of_prompt, prepend=-1) > 0] // n_bigrams
    n_all = np.bincount(prompt)
    n_distinct = np.bincount(distinct, minlength=n_all.size)
    return float((n_distinct[n_all > 0] / n_all[n_all > 0]).mean())


def _number_bigrams(candidates: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Give the prompt's and the bigram's number for each two words that follow each other in an answer."""
    # An Arrow string array ends at 2 GiB, a large one does not.
    texts = pc.utf8_trim_whitespace(candidates["text"].cast(pa.large_string())).combine_chunks()
    words = pc.utf8_split_whitespace(texts)
    answer = pc.list_parent_indices(words).to_numpy()
    number = _number(words.flatten())
    follows = answer[:-1] == answer[1:]
    bigram = (number[:-1] * (number.max(initial=0) + 1) + number[1:])[follows]
    prompt = _number(candidates["prompt_id"].combine_chunks())
    return prompt[answer[:-1][follows]], _number(pa.array(bigram))


def _number(values: pa.Array) -> np.ndarray:
    """Number values by their first appearance, equal ones alike."""
    return values.dictionary_encode().indices.to_numpy().astype(np.int64)
