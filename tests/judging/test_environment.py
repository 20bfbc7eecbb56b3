from judging.chat_config import RubricConfig, SelfConfig
from judging.config import MemberConfig, PanelConfig
from judging.engine_config import OfflineConfig, ServerConfig
from judging.environment import judge_engine_environment, runs_vllm
from judging.model_config import RewardModelConfig
from judging.verifier_config import MathsConfig

OFFLINE = RubricConfig(kind="rubric", engine=OfflineConfig(name="vllm", model="m", threads=3))
SERVED = RubricConfig(kind="rubric", engine=ServerConfig(name="openai", base_url="http://127.0.0.1:1/v1", model="m"))
REWARD = RewardModelConfig(kind="reward_model", model="m", threads=2)


def test_only_judges_in_the_offline_engine_want_its_variables():
    in_vllm = REWARD.model_copy(update={"engine": "vllm"})
    assert [runs_vllm(judge) for judge in (OFFLINE, SelfConfig(kind="self"), in_vllm)] == [True, True, True]
    assert [runs_vllm(judge) for judge in (SERVED, REWARD, MathsConfig(kind="maths"))] == [False, False, False]
    assert judge_engine_environment(OFFLINE)["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert judge_engine_environment(SERVED) == {"OMP_NUM_THREADS": "1"}


def test_threads_are_the_judges_own_or_its_engines():
    assert judge_engine_environment(REWARD) == {"OMP_NUM_THREADS": "2"}
    assert judge_engine_environment(OFFLINE)["OMP_NUM_THREADS"] == "3"


def test_a_panel_wants_what_all_its_members_want():
    panel = PanelConfig(kind="panel", members=[MemberConfig(judge=judge) for judge in (REWARD, OFFLINE)])
    assert judge_engine_environment(panel) == judge_engine_environment(OFFLINE)
