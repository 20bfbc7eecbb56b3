"""Drop pairs of prompts that are nearly the same as another one: of similar prompts the best stays, with all its pairs.

Similarity is the true Jaccard similarity of the prompts' sets of word 3-grams, or of character 5-grams where one of the
two has fewer than 32 words. Candidates come from MinHash signatures in 32 bands of 4 (rensa; Broder 1997), whose recall
is 1 - 5 in 10^8 at the default 0.8; nothing is dropped by an estimate. Greedy: prompts in the order of their best
margins, each that still stands drops its neighbours, so what is dropped has a neighbour at or above the limit that
stays. Deduplicated training data makes models copy less and need fewer steps (arXiv 2107.06499), and near-duplicates
across splits inflate evaluation. Of more than 64 prompts from one template not all are compared with each other
(`filtering.near.banding`), so filtering again may drop a few more.

System prompts are left out: one that all prompts share would make all of them similar. Prompts below 20 words are
compared for equality alone: there one word decides, and `duplicate_prompts` is for equal ones. A character of a script
written without spaces counts as a word. Prompts that differ in a number only are near-duplicates too, so leave the
filter out where such prompts are wanted. Embeddings were left out: they find paraphrases, at 100 times the cost.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from collections.abc import Callable
from typing import Any, Literal  # Any: JSON values

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field

from filtering.filter import Facts, FactSource, Filter, FilterConfig, Ints, Mapper
from filtering.hashes import hash_texts
from filtering.measured import Bools, Measured
from filtering.near.linking import FLOOR, Index, key_column, link_prompts
from filtering.near.shingles import Sets, char_shingles, join_words, plain_words, word_shingles
from filtering.near.signatures import ALGORITHM_VERSION, N_BANDS, SEED, band_keys
from filtering.near.survivors import Edges, closest_survivor, survive
from filtering.texts import prompt_texts

SHORT_FROM, LONG_FROM, SHORT_BELOW = 20, 32, 40  # words; 32 to 39 are in both indexes, so that neighbours meet


class NearDuplicatesConfig(FilterConfig, frozen=True):
    """Keep one of several prompts that are nearly the same: the one with the largest margin."""

    name: Literal["near_duplicates"]
    min_jaccard: float = Field(default=0.8, ge=FLOOR, le=1)
    """Jaccard similarity in [0.5, 1] from which on two prompts are near-duplicates; lower drops more. Below 0.65 more
    than 1 in 500 are missed."""


def measured_by(_: NearDuplicatesConfig) -> dict[str, Any]:
    """All similarities from 0.5 on are kept; rensa's signatures change with its algorithm."""
    return {"rensa_algorithm": ALGORITHM_VERSION, "seed": SEED}


def measure(pairs: pa.Table, _: NearDuplicatesConfig) -> pa.Table:
    """Hash the prompts, cut them into shingles and sign these."""
    words = plain_words(prompt_texts(_without_system(pairs["messages"])))
    n_words = np.diff(words.offsets.to_numpy())
    lines = join_words(words).cast(pa.large_binary()).to_pylist()
    ids = hash_texts(pairs["pair_id"].cast(pa.binary()).to_pylist())
    facts = {
        "id_low": ids["low"],
        "id_high": ids["high"],
        "prompt": np.fromiter(map(xxhash.xxh3_64_intdigest, lines), np.uint64, len(lines)),
        "margin": pairs["margin"].to_numpy(),
        "n_words": n_words,
    }
    is_short = (n_words >= SHORT_FROM) & (n_words < SHORT_BELOW)
    facts |= _index_facts("words", word_shingles, words, n_words >= LONG_FROM)
    facts |= _index_facts("chars", char_shingles, words, is_short)
    return pa.table(facts)


def link(source: FactSource, _: NearDuplicatesConfig, mapper: Mapper) -> pa.Table:
    """Find similar prompts among those of all parts."""
    return link_prompts(source, LONG_FROM, mapper)


def decide(facts: Facts, config: NearDuplicatesConfig) -> list[Measured]:
    """Let the best prompts stay and hold everyone's similarity to those against the limit."""
    prompt = facts["prompt"]
    hashes, at, number = np.unique(prompt[facts.best_first], return_index=True, return_inverse=True)
    rank = np.empty(len(hashes), dtype=np.int64)
    rank[np.argsort(at)] = np.arange(len(hashes))
    edges = _present(facts.links, hashes, rank)
    stays = survive(len(hashes), edges, config.min_jaccard)
    keep, closest = np.empty(len(facts), dtype=bool), np.empty(len(facts))
    keep[facts.best_first] = stays[rank[number]]
    closest[facts.best_first] = closest_survivor(stays, edges)[rank[number]]
    return [Measured(keep, closest, config.min_jaccard, "near_duplicate", "prompt")]


def _present(links: pa.Table | None, hashes: np.ndarray, rank: Ints) -> Edges:
    """Give the links between prompts that are there, numbered by rank."""
    if links is None:
        raise RuntimeError("near_duplicates decides on links, and there are none")
    ends, is_there = list[Ints](), np.ones(links.num_rows, dtype=bool)
    for column in ("first", "second"):
        wanted = links[column].to_numpy()
        at = np.minimum(np.searchsorted(hashes, wanted), max(len(hashes) - 1, 0))
        is_there &= hashes[at] == wanted if len(hashes) else False
        ends.append(at)
    first, second = (rank[at[is_there]] for at in ends)
    return Edges(first, second, links["jaccard"].to_numpy()[is_there])


def _index_facts(
    index: Index, shingles: Callable[[pa.ListArray], Sets], words: pa.ListArray, is_in: Bools
) -> dict[str, Any]:
    """Give the facts of an index for all rows, 0 and empty where a row is not in it."""
    sets = shingles(words.filter(pa.array(is_in)))
    sizes = np.zeros(len(words), dtype=np.uint32)
    sizes[is_in] = sets.sizes
    keys = np.zeros((N_BANDS, len(words)), dtype=np.uint32)
    keys[:, is_in] = band_keys(sets).T
    offsets = np.append(0, np.cumsum(sizes, dtype=np.int64))
    facts = {f"{index}_size": sizes, f"{index}_set": pa.LargeListArray.from_arrays(offsets, sets.values)}
    return facts | {key_column(index, band): keys[band] for band in range(N_BANDS)}


def _without_system(messages: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([_leave_out(chunk) for chunk in messages.chunks], messages.type)


def _leave_out(messages: pa.ListArray) -> pa.ListArray:
    keep = pc.fill_null(pc.not_equal(pc.struct_field(messages.values, "role"), "system"), True)
    if pc.all(keep, min_count=0).as_py():
        return messages
    before = np.append(0, np.cumsum(keep.to_numpy(zero_copy_only=False))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(before[messages.offsets.to_numpy()]), messages.values.filter(keep))


READS = ("pair_id", "messages", "margin")
NEAR_DUPLICATES = Filter(NearDuplicatesConfig, READS, measure, decide, measured_by, decides_on=("prompt",), link=link)
