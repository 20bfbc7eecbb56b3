"""The same judge by vLLM's server and its offline engine, and reward models by both engines, on a few candidates."""

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),  # vllm 0.30 with torch 2.13
    pytest.mark.filterwarnings("ignore:max_rollback_tokens:DeprecationWarning"),  # vllm 0.30 with its xgrammar
]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    from benchmarks.judge_engines import measure

    return measure(tmp_path_factory.mktemp("models"), 24)


def test_a_rubric_judge_gives_the_same_scores_by_server_and_by_offline_engine(report):
    rubric = report["rubric"]
    assert rubric["server"]["scored"] == rubric["offline"]["scored"] == 24
    assert rubric["max_difference"] <= 1e-3
    assert rubric["highest"] - rubric["lowest"] > 0.1  # or any two would be the same
    assert rubric["server"]["tokens_in"] == rubric["offline"]["tokens_in"]


@pytest.mark.parametrize("model", ["random_reward_model", "film_reward_model"])
def test_a_reward_model_puts_candidates_in_the_same_order_in_both_engines(report, model):
    reward = report[model]
    assert reward["transformers"]["scored"] == reward["vllm"]["scored"] == 24
    assert reward["same_order"] >= 0.99
    assert reward["max_difference"] <= 1e-3
    assert reward["highest"] - reward["lowest"] > 0.1
