"""Ids, seeds and splits: content hashes, so that neither batching nor sharding nor a resume changes one.

Ids are 24 hexadecimal characters (96 bits) of BLAKE2b: among a billion rows two share one with a chance of 1e-11.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from generation.config import SplitConfig

Split = Literal["train", "eval", "vault"]

_MIN_SEED_STRIDE = 64  # up to k = 64, raising k adds answers and changes none


def prompt_id(messages: Sequence[Mapping[str, str]]) -> str:
    """Hash a conversation: its roles and contents in order, nothing else."""
    canonical = [[message["role"], message["content"]] for message in messages]
    return _hash("prompt", json.dumps(canonical, ensure_ascii=False, separators=(",", ":")))


def candidate_id(prompt_id: str, policy: str, sampling: str, seed: int, sample_index: int) -> str:
    """Hash what drew a sampled answer; `sampling` is the JSON text of the candidates table."""
    return _hash("candidate", prompt_id, policy, sampling, str(seed), str(sample_index))


def imported_candidate_id(prompt_id: str, source: str, text: str) -> str:
    """Hash an answer that came from outside: its prompt, where it came from and its text."""
    return _hash("imported", prompt_id, source, text)


def base_seed(run_seed: int, round: int, prompt_id: str, k: int) -> int:
    """Give the seed of a prompt's first sample; sample j has this seed + j.

    One seed for all prompts would share its noise among them: 64 prompts then showed 3 distinct first tokens
    instead of 58.

    Returns:
        A multiple of a power of two >= k in [0, 2**31): bases are equal or at least k apart.
    """
    stride = max(_MIN_SEED_STRIDE, 1 << (k - 1).bit_length())
    number = int.from_bytes(_digest("seed", str(run_seed), str(round), prompt_id)[:4], "big") & 0x7FFFFFFF
    return number - number % stride


def hash_token_ids(ids: Sequence[int]) -> str:
    """Hash token ids, to tell whether two programs saw the same prompt."""
    return hashlib.blake2b(np.asarray(ids, dtype="<i4").tobytes(), digest_size=12).hexdigest()


def split_of(prompt_id: str, config: SplitConfig) -> Split:
    """Put a prompt into a split by its hash alone, so that added prompts move no old one.

    `eval` grows from the low end and `vault` from the high end: raising one share takes from `train` only.
    """
    point = int.from_bytes(_digest("split", prompt_id)[:8], "big") / 2**64
    if point < config.eval_share:
        return "eval"
    return "vault" if point >= 1 - config.vault_share else "train"


def order_key(run_seed: int, prompt_id: str) -> bytes:
    """Give the key that train prompts are sorted by before rounds are dealt out."""
    return _digest("order", str(run_seed), prompt_id)


def _hash(*parts: str) -> str:
    return _digest(*parts).hex()


def _digest(*parts: str) -> bytes:
    """Hash texts with their lengths, so that ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        data = part.encode("utf-8", errors="surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()
