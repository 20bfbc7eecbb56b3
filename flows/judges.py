"""Judges as a run sees them: who they are by content, which policies they are made of, what their process needs."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # JSON values

from flows.identities import identify_adapter, identify_model
from flows.keys import answer_fields
from flows.tables import file_checksum
from generation.engine import PolicyFiles
from judging.asking.template import read_template
from judging.chat_config import ListwiseConfig, PairwiseConfig, RubricConfig, SelfConfig
from judging.config import COMPARING, JudgeConfig, PanelConfig, RecordedConfig, SingleJudgeConfig
from judging.engine_config import OfflineConfig, ServerConfig
from judging.model_config import CheckpointConfig, ImplicitRewardConfig, RewardModelConfig

Roles = dict[str, PolicyFiles]
"""A run's own policies by their role: good, former, initial, base."""


@dataclass(frozen=True)
class CastJudge:
    """A judge whose every model is named.

    Attributes:
        config: The judge; roles and `self` have become folders and Hub names, Hub models are pinned to a commit.
        identity: Everything that its verdicts depend on: content instead of paths, as JSON values.
    """

    config: SingleJudgeConfig
    identity: dict[str, Any]


def cast_judge(config: SingleJudgeConfig, roles: Roles, field: str) -> CastJudge:
    """Name the models that a judge is made of.

    Args:
        config: The recipe's part.
        roles: The run's policies; empty outside a run.
        field: Its place in the recipe, for messages.

    Raises:
        FileNotFoundError: A model, an adapter or a file that it names is missing.
        ValueError: It wants a policy of a run, and there is no run; its template can't be read; or its reward would be
            the difference of a model and itself.
    """
    identity = answer_fields(config)
    match config:
        case RewardModelConfig():
            with _naming(f"{field}.model"):
                key = identify_model(config.model, config.revision)
            pinned = config.revision if Path(config.model).is_dir() else key
            return CastJudge(
                config.model_copy(update={"revision": pinned}), identity | {"model": key, "revision": None}
            )
        case RecordedConfig():
            if not config.path.is_file():
                raise FileNotFoundError(f"{field}.path: {config.path} is no file")
            return CastJudge(config, identity | {"path": file_checksum(config.path)})
        case ImplicitRewardConfig():
            sides = {name: _cast_model(getattr(config, name), roles, f"{field}.{name}") for name in _CHECKPOINTS}
            if sides["policy"][1] == sides["reference"][1]:
                raise ValueError(
                    f"{field}: policy and reference are the same weights, so every reward would be 0 (in a run's first "
                    "round good, former, initial and base are one policy): name what the policy was trained against, "
                    f"such as {field}.reference.model"
                )
            named = config.model_copy(update={name: side[0] for name, side in sides.items()})
            return CastJudge(named, identity | {name: side[1] for name, side in sides.items()})
        case RubricConfig() | PairwiseConfig() | ListwiseConfig():
            texts = hashlib.sha256(read_template(template_name(config), config.template).encode()).hexdigest()
            identity |= {"template": texts}
            if isinstance(config.engine, ServerConfig):
                return CastJudge(config, identity)
            engine, key = _cast_model(config.engine, roles, f"{field}.engine", is_self=isinstance(config, SelfConfig))
            fields = answer_fields(config.engine) | dict.fromkeys(_PLACES) | {"model": key}
            return CastJudge(config.model_copy(update={"engine": engine}), identity | {"engine": fields})
    return CastJudge(config, identity)


_CHECKPOINTS = ("policy", "reference")
_PLACES = ("model", "revision", "adapter", "trust_remote_code")  # where weights lie; their identity stands for them


def template_name(config: RubricConfig | PairwiseConfig | ListwiseConfig) -> str:
    """Name the template that comes with a judge."""
    return "rubric" if isinstance(config, SelfConfig) else config.kind


def members(config: JudgeConfig) -> list[SingleJudgeConfig]:
    """List the judges that an annotator is made of: those of a panel, or itself."""
    return [one.judge for one in config.members] if isinstance(config, PanelConfig) else [config]


def is_comparing(config: JudgeConfig) -> bool:
    """Tell whether a judge's scores are relative to the other answers of the prompt."""
    return isinstance(config, COMPARING)


def asks_server(config: SingleJudgeConfig) -> bool:
    """Tell whether a judge's answers come from a server, which may be away for a while."""
    return isinstance(getattr(config, "engine", None), ServerConfig)


def runs_model(config: dict[str, Any]) -> bool:
    """Tell whether a judge (as JSON values) loads a model in its own process."""
    return config["kind"] in ("reward_model", "implicit_reward") or config.get("engine", {}).get("name") == "vllm"


def same_judge(one: JudgeConfig, other: JudgeConfig) -> bool:
    """Tell whether two judges of a recipe give the same verdicts."""
    return answer_fields(one) == answer_fields(other)


def _cast_model(
    config: CheckpointConfig | OfflineConfig, roles: Roles, field: str, *, is_self: bool = False
) -> tuple[Any, str]:
    """Name a model by its files, with its identity."""
    role = "good" if is_self else getattr(config, "role", None)
    if role is not None:
        if role not in roles:
            raise ValueError(
                f"{field} is the {role} policy of a run, and there is no run here: name a model "
                f"({field}.model), or a rubric judge instead of self"
            )
        files = roles[role]
    elif config.model is None:
        raise ValueError(f"{field}.model is missing: name a folder or a Hub model; only self takes the policy")
    else:
        with _naming(f"{field}.model"):
            key = identify_model(config.model, config.revision)
        revision = None if Path(config.model).is_dir() else key
        with _naming(f"{field}.adapter"):
            key += identify_adapter(config.adapter) if config.adapter else ""
        files = PolicyFiles(config.model, key, config.adapter, revision, config.trust_remote_code)
    named = {
        "model": files.model,
        "revision": files.revision,
        "adapter": files.adapter,
        "trust_remote_code": files.trust_remote_code,
    }
    if isinstance(config, CheckpointConfig):
        named["role"] = None
    return config.model_copy(update=named), files.key


@contextmanager
def _naming(field: str) -> Iterator[None]:
    """Name the recipe's field in the error of a model that is not there."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{field}: {error}") from error
