"""What must stand in the environment of a judge's process before it imports torch or vllm."""

from collections.abc import Iterator

from judging.config import JudgeConfig, PanelConfig, RewardModelConfig, SingleJudgeConfig
from judging.engine_config import OfflineConfig

_VLLM = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process: 2 s to start instead of 15
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # "auto" reserves a core for a front end that is not there
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def judge_engine_environment(judge: JudgeConfig) -> dict[str, str]:
    """Give the environment variables of a judge's process; a panel's are those of all its members."""
    judges = list(_single_judges(judge))
    threads = max(_threads(single) for single in judges)
    return {"OMP_NUM_THREADS": str(threads)} | (_VLLM if any(runs_vllm(single) for single in judges) else {})


def runs_vllm(judge: SingleJudgeConfig) -> bool:
    """Say whether a judge runs vLLM's offline engine in its own process."""
    if isinstance(judge, RewardModelConfig):
        return judge.engine == "vllm"
    return isinstance(getattr(judge, "engine", None), OfflineConfig)


def _single_judges(judge: JudgeConfig) -> Iterator[SingleJudgeConfig]:
    if isinstance(judge, PanelConfig):
        yield from (member.judge for member in judge.members)
    else:
        yield judge


def _threads(judge: SingleJudgeConfig) -> int:
    engine = getattr(judge, "engine", None)
    return getattr(engine if isinstance(engine, OfflineConfig) else judge, "threads", 1)
