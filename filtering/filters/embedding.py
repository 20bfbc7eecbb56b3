"""Drop pairs whose two texts mean nearly the same, by the cosine of their embeddings.

It finds paraphrases, which differ in letters and not in sense; a similar pair lowers the likelihood of its chosen text
as well (likelihood displacement, 2410.08847, whose CHES score needs the policy's hidden states and is left out). Even a
small model takes up to a tenth of a second of a CPU for a text of 256 tokens, far more than all other filters together,
so it is an option: it needs the extra `embed` and a model.

A model reads a text up to its limit (256 tokens for all-MiniLM-L6-v2, some 1,000 characters). Two answers with one
beginning look equal to it, so pairs with a longer text are kept, and not embedded, unless asked for; how many
is logged.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self  # Any: JSON values

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from filtering.embedder import Embedder, load_embedder, model_identity
from filtering.filter import HOW, Facts, Filter, FilterConfig
from filtering.measured import Floats, Measured

log = logging.getLogger(__name__)


class EmbeddingConfig(FilterConfig, frozen=True):
    """Drop pairs whose two texts mean nearly the same."""

    name: Literal["embedding"]
    model: str = Field(min_length=1, json_schema_extra=HOW)
    """Model of sentence-transformers: a folder, or a name on the Hugging Face Hub."""
    revision: str | None = None
    """Commit of a model on the Hub, so that stored cosines are never those of other weights; null for a folder."""
    max_similarity: float = Field(default=0.98, ge=-1, le=1)
    """Highest cosine of the two texts; lowering it drops more pairs."""
    long_texts: Literal["keep", "compare_beginnings"] = "keep"
    """What becomes of pairs with a text longer than the model reads."""
    batch_size: int = Field(default=32, ge=1, json_schema_extra=HOW)
    """Texts embedded at a time; raising it takes more memory and is faster on an accelerator."""
    device: str | None = Field(default=None, json_schema_extra=HOW)
    """Where the model runs, such as cpu or cuda; null takes an accelerator if there is one."""

    @model_validator(mode="after")
    def _names_its_weights(self) -> Self:
        if not Path(self.model).is_dir() and self.revision is None:
            raise ValueError(
                f"model {self.model!r} is no folder, so it is a name on the Hub: give its commit as revision, "
                "or the path of a folder that exists"
            )
        if Path(self.model).is_dir() and self.revision is not None:
            raise ValueError(f"model {self.model!r} is a folder, which has no revision: leave revision out")
        return self


def measure(pairs: pa.Table, config: EmbeddingConfig) -> pa.Table:
    """Embed both texts of each pair and take the cosine; NaN where a text is too long to be compared.

    Raises:
        ImportError: The extra `embed` is not installed.
    """
    embedder = load_embedder(config.model, config.revision, config.device, config.batch_size)
    chosen, rejected = pairs["chosen"].to_pylist(), pairs["rejected"].to_pylist()
    is_cut = embedder.is_cut(chosen) | embedder.is_cut(rejected)
    rows = np.arange(len(pairs)) if config.long_texts == "compare_beginnings" else np.flatnonzero(~is_cut)
    cosine = np.full(len(pairs), np.nan, dtype=np.float32)
    cosine[rows] = cosines(embedder, [chosen[row] for row in rows], [rejected[row] for row in rows])
    return pa.table({"cosine": cosine, "is_cut": is_cut})


def decide(facts: Facts, config: EmbeddingConfig) -> list[Measured]:
    """Hold the cosines against the limit."""
    cosine, is_cut = facts.floats("cosine"), facts["is_cut"]
    if n_cut := int(is_cut.sum()):
        log.warning(
            "%d of %d pairs have a text longer than %s reads: %s", n_cut, len(facts), config.model, config.long_texts
        )
    return [Measured(~(cosine > config.max_similarity), cosine, config.max_similarity, "embedding_similarity")]


def cosines(embedder: Embedder, first: Sequence[str], second: Sequence[str]) -> Floats:
    """Give the cosine of each two texts, in [-1, 1]; 0 where a vector is 0."""
    if not first:
        return np.zeros(0)
    one, two = (embedder.embed(texts).astype(np.float64) for texts in (first, second))
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return np.divide((one * two).sum(axis=1), norms, out=np.zeros(len(one)), where=norms > 0).clip(-1, 1)


def _measured_by(config: EmbeddingConfig) -> dict[str, Any]:
    return {"model": model_identity(config.model, config.revision), "long_texts": config.long_texts}


EMBEDDING = Filter(EmbeddingConfig, ("chosen", "rejected"), measure, decide, _measured_by)
