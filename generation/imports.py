"""Candidates that others sampled: rows of prompt and response become prompts, candidates and, where given, scores.

Such candidates have no token ids, so training tokenises them itself and says so.
"""

import logging
import math
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa

from generation.config import PromptsConfig
from generation.drops import Drop, drops_table
from generation.identity import imported_candidate_id
from generation.messages import BadPromptError
from generation.prompts import as_text, find_columns, make_prompt
from generation.schema import CANDIDATES, PROMPTS
from generation.sources import Row, Source, missing_column, read_sources

logger = logging.getLogger(__name__)

IMPORTED_SCORES = pa.schema(
    [
        ("candidate_id", pa.string()),
        ("prompt_id", pa.string()),
        ("score", pa.float64()),  # in the source's own unit; null = it had none
    ]
)

_POLICY_COLUMNS = ("policy", "model")


@dataclass(frozen=True)
class ImportColumns:
    """The columns of a source beside the prompt's own.

    Attributes:
        response: The answer's text.
        policy: Who wrote it; None looks for `policy`, then `model`, else the file's name stands for it.
        score: How good it is; None looks for `score`.
    """

    response: str = "response"
    policy: str | None = None
    score: str | None = None


@dataclass(frozen=True)
class ImportedTables:
    """What an import gives: candidates and drops together hold every row of the source."""

    prompts: pa.Table  # schema PROMPTS, those with a candidate
    candidates: pa.Table  # schema CANDIDATES
    scores: pa.Table  # schema IMPORTED_SCORES; empty where the source has no scores
    drops: pa.Table  # schema DROPS


def import_candidates(config: PromptsConfig, columns: ImportColumns) -> ImportedTables:
    """Read answers that others sampled, one a row; rows with the same prompt are its candidates.

    Args:
        config: Where the rows are, and how their prompts are read and split.
        columns: Where the answers are.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is broken, a column is missing, a score is no number or no candidate is left.
    """
    imported = _Import()
    sources = read_sources(config)
    for source in sources:
        named = _find(source, columns)
        apart = tuple(filter(None, (named.response, named.policy, named.score)))
        prompt_columns = find_columns(source, config, apart)
        for number, row in enumerate(source.rows, start=1):
            try:
                prompt = make_prompt(row, prompt_columns, source, number, config)
            except BadPromptError as error:
                imported.drop(f"{source.name}#{number}", error.reason, row.get(prompt_columns.prompt))
            else:
                imported.add(prompt, row, number, named)
    return imported.tables(sum(len(source.rows) for source in sources))


class _Import:
    """Collects the rows of an import."""

    def __init__(self) -> None:
        self._prompts: dict[str, Row] = {}
        self._candidates: dict[str, Row] = {}
        self._scores: list[Row] = []
        self._drops: list[Drop] = []
        self._counts: Counter[str] = Counter()

    def add(self, prompt: Row, row: Row, number: int, columns: ImportColumns) -> None:
        text = row.get(columns.response)
        if not isinstance(text, str) or not text.strip():
            self.drop(f"{prompt['source']}#{number}", "empty_response", text)
            return
        id, policy = prompt["prompt_id"], row.get(columns.policy) if columns.policy else None
        author = as_text(policy) or prompt["source"]
        candidate = imported_candidate_id(id, author, text)
        if candidate in self._candidates:
            self.drop(f"{candidate}#{prompt['source']}#{number}", "duplicate_candidate", text)
            return
        self._prompts.setdefault(id, prompt)
        self._candidates[candidate] = {
            "prompt_id": id,
            "candidate_id": candidate,
            "sample_index": self._counts[id],
            "text": text,
            "policy": author,
        }
        self._counts[id] += 1
        if columns.score:
            score = _number(row.get(columns.score), f"{prompt['source']}, row {number}: {columns.score}")
            self._scores.append({"candidate_id": candidate, "prompt_id": id, "score": score})

    def drop(self, id: str, reason: str, context: object) -> None:
        self._drops.append(Drop("candidate", id, "generation", "import", reason, context=as_text(context)))

    def tables(self, n_rows: int) -> ImportedTables:
        reasons = dict(Counter(drop.reason for drop in self._drops))
        if n_rows != len(self._candidates) + len(self._drops):
            raise RuntimeError(f"{n_rows} rows were read, {len(self._candidates)} kept and {len(self._drops)} dropped")
        if not self._candidates:
            raise ValueError(f"no candidate among {n_rows} rows; dropped: {reasons or 'none'}")
        logger.info("import: %d rows in, %d out, dropped: %s", n_rows, len(self._candidates), reasons)
        return ImportedTables(
            pa.Table.from_pylist(list(self._prompts.values()), schema=PROMPTS),
            pa.Table.from_pylist(list(self._candidates.values()), schema=CANDIDATES),
            pa.Table.from_pylist(self._scores, schema=IMPORTED_SCORES),
            drops_table(self._drops),
        )


def _find(source: Source, columns: ImportColumns) -> ImportColumns:
    """Fill in the columns that were left open with those that the source has."""
    for column, field in ((columns.response, "response"), (columns.policy, "policy"), (columns.score, "score")):
        if column is not None and column not in source.columns:
            raise missing_column(source, column, f"the import's {field} column")
    policy = columns.policy or next((column for column in _POLICY_COLUMNS if column in source.columns), None)
    score = columns.score or ("score" if "score" in source.columns else None)
    return ImportColumns(columns.response, policy, score)


def _number(value: object, where: str) -> float | None:
    """Read a score; null and NaN mean that there is none."""
    if value is None:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} is {value!r}, which is no number: clean the column or leave it out") from error
    return number if math.isfinite(number) else None
