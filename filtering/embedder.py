"""Texts as vectors whose angle says how alike they are in meaning."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol  # Any: sentence-transformers, where the extra may be missing

import numpy as np

from filtering.checksums import file_checksum
from filtering.measured import Bools

# A word piece of more characters is rare; longer texts are cut without counting their tokens.
_MAX_CHARS_PER_TOKEN = 50


class Embedder(Protocol):
    """What turns texts into vectors."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Give a float array `(texts, dimensions)`; the same text gives the same vector, but for rounding."""
        ...


class SentenceEmbedder:
    """A model of sentence-transformers, which reads a text up to its own limit of tokens and no further."""

    def __init__(self, model: str, revision: str | None, device: str | None, batch_size: int) -> None:
        """Load a model.

        Args:
            model: A folder, or a name on the Hugging Face Hub.
            revision: Commit on the Hub; None for a folder.
            device: Where it runs, such as `cuda`; None = an accelerator if there is one, else the CPU.
            batch_size: Texts embedded at a time.

        Raises:
            ImportError: The extra `embed` is not installed.
        """
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ImportError(
                'the embedding filter needs sentence-transformers: pip install "prefloop[embed]"'
            ) from error
        self._model: Any = SentenceTransformer(model, revision=revision, device=device)
        self._batch_size = batch_size

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that the model reads."""
        return self._model.max_seq_length

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Give float32 vectors of length 1, `(texts, dimensions)`; of a text that is too long only its beginning."""
        heads = [text[: self._max_chars] for text in texts]
        return self._model.encode(
            heads, batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
        )

    def is_cut(self, texts: Sequence[str]) -> Bools:
        """Say which texts are longer than the model reads."""
        if not texts:
            return np.zeros(0, dtype=bool)
        heads = [text[: self._max_chars] for text in texts]
        tokens = self._model.tokenizer(heads, truncation=False, padding=False, verbose=False)["input_ids"]
        return np.array([len(ids) > self.max_tokens for ids in tokens]) | (
            np.array([*map(len, texts)]) > self._max_chars
        )

    @property
    def _max_chars(self) -> int:
        return self.max_tokens * _MAX_CHARS_PER_TOKEN


@lru_cache(maxsize=1)  # a process measures many shards
def load_embedder(model: str, revision: str | None, device: str | None, batch_size: int) -> SentenceEmbedder:
    """Load a model, or give the one that this process has loaded."""
    return SentenceEmbedder(model, revision, device, batch_size)


def model_identity(model: str, revision: str | None) -> dict[str, str]:
    """Name what a model's vectors hang on: the contents of its folder, or its name and commit on the Hub."""
    folder = Path(model)
    if not folder.is_dir():
        return {"model": model, "revision": str(revision)}
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")
    return {path.relative_to(folder).as_posix(): file_checksum(path) for path in files}
