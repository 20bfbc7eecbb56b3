"""A judge's config in, the judge out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from judging.asking.dialogue import NoReplies, Replies
from judging.asking.server_model import ChatClient
from judging.config import SingleJudgeConfig
from judging.implicit_reward import SumLogprobs
from judging.judge import Judge


@dataclass(frozen=True)
class Tools:
    """What judges are handed because it is no judge's own.

    Attributes:
        client: Talks to a language-model judge's server.
        replies: Where its replies are kept.
        sum_logprobs: Gives the log-probs of answers under a checkpoint.
    """

    client: ChatClient | None = None
    replies: Replies = field(default_factory=NoReplies)
    sum_logprobs: SumLogprobs | None = None


def open_judge(config: SingleJudgeConfig, tools: Tools | None = None) -> Judge:
    """Build the judge that a config describes; entering it as a context loads what it needs."""
    return _OPENERS[config.kind](config, tools or Tools())


def _reward_model(config: Any, _: Tools) -> Judge:
    from judging.reward_model import RewardModel

    return RewardModel(config)


def _implicit_reward(config: Any, tools: Tools) -> Judge:
    from judging.implicit_reward import ImplicitReward

    return ImplicitReward(config, tools.sum_logprobs)


def _verifier(config: Any, _: Tools) -> Judge:
    from judging.verifier import Verifier

    return Verifier(config)


def _maths(_config: Any, _: Tools) -> Judge:
    from judging.maths import Maths

    return Maths()


def _rules(config: Any, _: Tools) -> Judge:
    from judging.rules import Rules

    return Rules(config)


def _rubric(config: Any, tools: Tools) -> Judge:
    from judging.asking.chat_models import open_chat_model
    from judging.rubric import RubricJudge

    return RubricJudge(config, open_chat_model(config.engine, tools.client), tools.replies)


def _pairwise(config: Any, tools: Tools) -> Judge:
    from judging.asking.chat_models import open_chat_model
    from judging.pairwise import PairwiseJudge

    return PairwiseJudge(config, open_chat_model(config.engine, tools.client), tools.replies)


def _listwise(config: Any, tools: Tools) -> Judge:
    from judging.asking.chat_models import open_chat_model
    from judging.listwise import ListwiseJudge

    return ListwiseJudge(config, open_chat_model(config.engine, tools.client), tools.replies)


def _recorded(config: Any, _: Tools) -> Judge:
    from judging.recorded import Recorded

    return Recorded(config)


# Each opener knows the config of its kind, which is more than a type checker can follow through a dict.
_OPENERS: dict[str, Callable[[Any, Tools], Judge]] = {
    "reward_model": _reward_model,
    "implicit_reward": _implicit_reward,
    "verifier": _verifier,
    "maths": _maths,
    "rules": _rules,
    "rubric": _rubric,
    "self": _rubric,  # the policy's weights stand in its engine's config by now
    "pairwise": _pairwise,
    "listwise": _listwise,
    "recorded": _recorded,
}
