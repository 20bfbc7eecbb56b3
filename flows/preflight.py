"""What can be known to fail later is looked at before the first hour is spent: prompts, judges, keys, functions."""

import os
from importlib.util import find_spec

from flows.build import Workbench
from flows.child import StageError
from flows.comparison import heldout_slice
from flows.identities import judge_identity
from flows.round_plan import train_slice
from flows.stages import slice_prompts
from judging.config import JudgeConfig, RubricConfig, VerifierConfig


def check_before_start(bench: Workbench, rounds: int) -> None:
    """Check that every round has its prompts, and that both judges can be opened as far as that costs nothing.

    Raises:
        StageError: Names the recipe's field and the fix.
        FileNotFoundError: A model or a file of a judge is missing.
    """
    for number in range(1, rounds + 1):
        slice_prompts(bench, train_slice(bench.recipe, number))
    slice_prompts(bench, heldout_slice(bench.recipe))
    _check_judge(bench.recipe.judging.annotator, "judging.annotator")
    _check_judge(bench.recipe.evaluation.judge, "evaluation.judge")


def _check_judge(judge: JudgeConfig, field: str) -> None:
    judge_identity(judge)
    if isinstance(judge, VerifierConfig):
        module = judge.function.partition(":")[0]
        try:
            found = find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise StageError(f"{field}.function: there is no module {module}; is its folder on PYTHONPATH?")
    if isinstance(judge, RubricConfig) and judge.api_key_env and not os.environ.get(judge.api_key_env):
        raise StageError(f"{field}.api_key_env: the environment variable that it names is not set")
