"""Ids of prompts and answers from other tools: content hashes, those of prompts the same as everywhere in the project.

The stages share no code but their schemas, so the hash is written here once more; a test holds the two together.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence


def hash_prompt(messages: Sequence[Mapping[str, str]]) -> str:
    """Hash a conversation as `generation.identity.prompt_id` does."""
    canonical = [[message["role"], message["content"]] for message in messages]
    return _hash("prompt", json.dumps(canonical, ensure_ascii=False, separators=(",", ":")))


def hash_answer(prompt_id: str, text: str) -> str:
    """Hash an answer to a prompt: equal answers of several pairs get one id."""
    return _hash("answer", prompt_id, text)


def _hash(*parts: str) -> str:
    """Hash texts with their lengths into 24 hexadecimal characters, so that ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
