"""The options of an audit as people give them in, its judge and its material out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any  # JSON values

import pyarrow as pa

from flows import alone
from flows.audit_gold import Gold, gold_of_imported, read_gold
from flows.audit_labels import Families
from flows.fields import FieldError
from flows.recipe import Recipe
from generation.config import PromptsConfig
from generation.imports import ImportColumns, import_candidates
from generation.prompts import read_prompts
from generation.schema import CANDIDATES
from judging.chat_config import RubricConfig, SelfConfig
from judging.config import JudgeConfig

JUDGE_FIELDS = ("judging.annotator", "evaluation.judge")


@dataclass(frozen=True)
class AnswersFile:
    """Where the answers are: rows of prompt and response, or candidates of ours with their prompts."""

    answers: Path | None
    prompt_column: str
    response_column: str
    policy_column: str | None
    candidates: Path | None
    prompts: Path | None


@dataclass(frozen=True)
class Material:
    """What a judge is measured on.

    Attributes:
        prompts: Table of `PROMPTS`.
        candidates: Table of `CANDIDATES`.
        gold: Gold labels; None = there are none.
        files: Names and checksums of what was read, as JSON values.
    """

    prompts: pa.Table
    candidates: pa.Table
    gold: Gold | None
    files: list[Any]


def choose_judge(recipe: Recipe, field: str) -> JudgeConfig:
    """Take one of a recipe's two judges; `self` becomes a rubric judge with the recipe's starting policy."""
    if field not in JUDGE_FIELDS:
        raise FieldError(f"--judge is {field!r}: give {' or '.join(JUDGE_FIELDS)}")
    judge = recipe.judging.annotator if field == JUDGE_FIELDS[0] else recipe.evaluation.judge
    if not isinstance(judge, SelfConfig):
        return judge
    policy = recipe.policy
    places = {"model": policy.model, "revision": policy.revision, "adapter": policy.adapter}
    engine = judge.engine.model_dump() | places | {"trust_remote_code": policy.trust_remote_code}
    return RubricConfig.model_validate(judge.model_dump() | {"kind": "rubric", "engine": engine})


def read_material(files: AnswersFile, gold: Path | None, gold_column: str | None, recipe: Recipe) -> Material:
    """Read answers, their prompts and gold labels.

    Raises:
        FieldError: Neither answers nor candidates are given, or both; or gold scores are named twice.
        ValueError: A file can't be read.
    """
    if (files.answers is None) == (files.candidates is None):
        raise FieldError("give one of --answers (rows of prompt and response) and --candidates (Parquet of ours)")
    if files.answers is not None:
        if files.prompts is not None:
            raise FieldError("--prompts belongs to --candidates: the rows of --answers hold their prompts")
        return _read_rows(files, files.answers, gold, gold_column)
    if gold is None and gold_column is not None:
        raise FieldError("--gold-column names a column of --answers or --gold: give one of these")
    read = [one for one in (files.candidates, files.prompts, gold) if one is not None]
    return Material(
        read_prompts(recipe.prompts, 0).prompts if files.prompts is None else alone.load_prompts(files.prompts),
        alone.load_table(read[0], CANDIDATES),
        None if gold is None else read_gold(gold, gold_column or "score"),
        [alone.checksums(one) for one in read],
    )


def _read_rows(files: AnswersFile, answers: Path, gold: Path | None, gold_column: str | None) -> Material:
    if gold is not None and gold_column is not None:
        raise FieldError("--gold and --gold-column are both given: the gold column is one of --answers; leave one out")
    columns = ImportColumns(files.response_column, files.policy_column, gold_column)
    tables = import_candidates(PromptsConfig(path=answers, prompt_column=files.prompt_column), columns)
    labels = gold_of_imported(tables.scores) if gold_column is not None else None
    if gold is not None:
        labels = read_gold(gold, "score")
    read = [one for one in (answers, gold) if one is not None]
    return Material(tables.prompts, tables.candidates, labels, [alone.checksums(one) for one in read])


def read_families(pairs: list[str], judge: str | None) -> Families | None:
    """Read `policy=family` pairs; None without any.

    Raises:
        FieldError: A pair has no `=`, or only one of the two options is given.
    """
    if not pairs and judge is None:
        return None
    split = [pair.rpartition("=") for pair in pairs]  # names of policies may hold one, families don't
    if wrong := [pair for pair, (policy, _, family) in zip(pairs, split, strict=True) if not policy or not family]:
        raise FieldError(f"--family is {wrong[0]!r}: write policy=family, such as --family gpt-4o=openai")
    if not pairs or judge is None:
        raise FieldError("self-preference wants both --family policy=family and --judge-family family")
    return Families({policy: family for policy, _, family in split}, judge)
