"""What can be known to fail later is looked at before the first hour is spent: prompts, judges, keys, functions."""

import os
from importlib.util import find_spec

from flows.build import Workbench
from flows.child import StageError
from flows.comparison import heldout_slice
from flows.identities import judge_identity
from flows.model_files import check_model_files
from flows.round_plan import train_slice
from flows.stages import slice_prompts
from generation.config import PolicyConfig
from judging.config import JudgeConfig, RewardModelConfig, RubricConfig, VerifierConfig


def check_before_start(bench: Workbench, rounds: int) -> None:
    """Check that every round has its prompts, and that models and judges can be opened as far as that costs nothing.

    Raises:
        StageError: Names the recipe's field and the fix.
        ValueError: A model's files can't be used; likewise.
        FileNotFoundError: A model or a file of a judge is missing.
    """
    for number in range(1, rounds + 1):
        slice_prompts(bench, train_slice(bench.recipe, number))
    slice_prompts(bench, heldout_slice(bench.recipe))
    _check_policy(bench.recipe.policy, "policy")
    for place, other in enumerate(bench.recipe.generation.mix):
        if other.policy is not None:
            _check_policy(other.policy, f"generation.mix.{place}.policy")
    _check_judge(bench.recipe.judging.annotator, "judging.annotator")
    _check_judge(bench.recipe.evaluation.judge, "evaluation.judge")


def _check_policy(policy: PolicyConfig, field: str) -> None:
    check_model_files(policy.model, policy.adapter, trust_remote_code=policy.trust_remote_code, field=field)


def _check_judge(judge: JudgeConfig, field: str) -> None:
    if isinstance(judge, RewardModelConfig):
        check_model_files(judge.model, trust_remote_code=judge.trust_remote_code, field=field)
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
