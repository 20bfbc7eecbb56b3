import subprocess
import sys

import pytest

from generation.chat_client import ChatClient
from judging.chat_config import ListwiseConfig, PairwiseConfig
from judging.config import MathsConfig, RecordedConfig, RewardModelConfig, RubricConfig, VerifierConfig
from judging.judges import Tools, open_judge

ENGINE = {"name": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "judge"}


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (RewardModelConfig(kind="reward_model", model="a/b"), "RewardModel"),
        (VerifierConfig(kind="verifier", function="a:b"), "Verifier"),
        (MathsConfig(kind="maths"), "Maths"),
        (RubricConfig(kind="rubric", engine=ENGINE), "RubricJudge"),
        (PairwiseConfig(kind="pairwise", engine=ENGINE), "PairwiseJudge"),
        (ListwiseConfig(kind="listwise", engine=ENGINE), "ListwiseJudge"),
        (RecordedConfig(kind="recorded", path="scores.jsonl"), "Recorded"),
    ],
)
def test_each_config_opens_its_judge(config, name):
    assert type(open_judge(config, Tools(client=ChatClient(ENGINE["base_url"])))).__name__ == name


def test_import_of_the_judges_loads_no_heavy_library():
    code = "import sys, judging.judges; print({'torch', 'transformers', 'sympy', 'openai'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
