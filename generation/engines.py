"""The engines by the name that a recipe gives them: the environment each wants, and how each is opened."""

from collections.abc import Callable

from generation.config import EngineConfig, OpenAIConfig, SamplingConfig, TransformersConfig, VllmConfig
from generation.engine import Engine, PolicyFiles


def open_engine(config: EngineConfig, policy: PolicyFiles, k: int, sampling: SamplingConfig) -> Engine:
    """Build the engine that a recipe names; it loads the policy when it is entered (`with`)."""
    return _OPENERS[config.name](config, policy, k, sampling)


def engine_environment(config: EngineConfig) -> dict[str, str]:
    """Give the environment variables that must stand before a process imports torch or vllm."""
    if isinstance(config, OpenAIConfig):
        return {}
    environment = {"OMP_NUM_THREADS": str(config.threads), "TOKENIZERS_PARALLELISM": "false"}
    if isinstance(config, VllmConfig):
        environment |= {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process: 2 s to start instead of 15
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # "auto" reserves a core for a front end that is not there
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
        }
    return environment


def _open_vllm(config: VllmConfig, policy: PolicyFiles, k: int, sampling: SamplingConfig) -> Engine:
    from generation.vllm_engine import VllmEngine

    return VllmEngine(config, policy, k, sampling)


def _open_transformers(config: TransformersConfig, policy: PolicyFiles, k: int, sampling: SamplingConfig) -> Engine:
    from generation.transformers_engine import TransformersEngine

    return TransformersEngine(config, policy, k, sampling)


def _open_openai(config: OpenAIConfig, policy: PolicyFiles, k: int, sampling: SamplingConfig) -> Engine:
    from generation.openai_engine import OpenAIEngine

    return OpenAIEngine(config, policy, k, sampling)


_OPENERS: dict[str, Callable[..., Engine]] = {
    "vllm": _open_vllm,
    "transformers": _open_transformers,
    "openai": _open_openai,
}
