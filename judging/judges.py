"""A judge's config in, the judge out."""

from collections.abc import Callable
from typing import Any

from judging.config import JudgeConfig
from judging.judge import Judge


def open_judge(config: JudgeConfig, client: object | None = None) -> Judge:
    """Build the judge that a config describes; entering it as a context loads what it needs.

    Args:
        config: The judge's part of a recipe.
        client: Talks to the server of a rubric judge; the others need none.
    """
    return _OPENERS[config.kind](config, client)


def _reward_model(config: Any, _: object | None) -> Judge:
    from judging.reward_model import RewardModel

    return RewardModel(config)


def _verifier(config: Any, _: object | None) -> Judge:
    from judging.verifier import Verifier

    return Verifier(config)


def _maths(_config: Any, _: object | None) -> Judge:
    from judging.maths import Maths

    return Maths()


def _rubric(config: Any, client: Any) -> Judge:
    from judging.rubric import RubricJudge

    return RubricJudge(config, client)


def _recorded(config: Any, _: object | None) -> Judge:
    from judging.recorded import Recorded

    return Recorded(config)


# Each opener knows the config of its kind, which is more than a type checker can follow through a dict.
_OPENERS: dict[str, Callable[[Any, object | None], Judge]] = {
    "reward_model": _reward_model,
    "verifier": _verifier,
    "maths": _maths,
    "rubric": _rubric,
    "recorded": _recorded,
}
