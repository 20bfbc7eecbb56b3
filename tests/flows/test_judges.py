import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from flows.comparison import plan_contest
from flows.judges import cast_judge, same_judge
from flows.plan import Step
from flows.recipe import Recipe
from flows.round_plan import Policies
from flows.score_plan import member_names, plan_scores
from generation.engine import PolicyFiles
from judging.config import JudgeConfig

PROMPTS = Step("prompts", 1, {})
ANSWERS = [Step("generation", 1, {"policy": name}) for name in ("own", "other")]
SERVER = {"name": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "judge"}
GOOD = PolicyFiles("/policies/one", "key-of-one")
ROLES = {"good": GOOD, "initial": PolicyFiles("/policies/start", "key-of-start", "/adapter", None, True)}


def config(**fields: Any) -> Any:
    return TypeAdapter(JudgeConfig).validate_python(fields)


def plans(judge: Any, roles: dict[str, PolicyFiles] = ROLES) -> list[Any]:
    return plan_scores(PROMPTS, ANSWERS, judge, roles, "judging.annotator")


def test_a_judge_of_single_answers_scores_each_policy_apart():
    found = plans(config(kind="maths"))
    assert [plan.candidates for plan in found] == [[ANSWERS[0]], [ANSWERS[1]]]


@pytest.mark.parametrize("kind", ["pairwise", "listwise"])
def test_a_judge_that_compares_scores_all_policies_together(kind):
    [found] = plans(config(kind=kind, engine=SERVER))
    assert found.candidates == ANSWERS


def test_a_panel_joins_the_stored_scores_of_its_members():
    panel = config(
        kind="panel", members=[{"judge": {"kind": "maths"}}, {"judge": {"kind": "pairwise", "engine": SERVER}}]
    )
    [found] = plans(panel)
    assert [[len(plan.candidates) for plan in member] for member in found.members] == [[1, 1], [2]]
    assert found.members[1][0].field == "judging.annotator.members.1.judge"
    assert len({step.key for step in found.steps()}) == 4
    assert found.steps()[-1] is found.step
    alone = plans(config(kind="maths"))
    assert [plan.step.key for plan in found.members[0]] == [plan.step.key for plan in alone]


def test_a_members_weight_changes_the_panels_key_and_not_the_members():
    def panel(weight: float) -> Any:
        judge = {"kind": "maths"}
        return plans(config(kind="panel", members=[{"judge": judge, "weight": weight}, {"judge": judge}]))[0]

    light, heavy = panel(1.0), panel(2.0)
    assert light.step.key != heavy.step.key
    assert light.members[0][0].step.key == heavy.members[0][0].step.key


def test_self_is_the_round_s_policy():
    cast = cast_judge(config(kind="self"), ROLES, "judging.annotator")
    assert isinstance(cast.config.model_dump()["engine"], dict)
    assert cast.config.model_dump()["engine"]["model"] == "/policies/one"
    assert cast.identity["engine"]["model"] == "key-of-one"


def test_self_outside_a_run_is_refused():
    with pytest.raises(ValueError, match=r"--set.engine is the good policy of a run, and there is no run here"):
        cast_judge(config(kind="self"), {}, "--set")


def test_an_implicit_reward_names_its_policies_by_role():
    judge = config(kind="implicit_reward", policy={"role": "good"}, reference={"role": "initial"})
    cast = cast_judge(judge, ROLES, "judging.annotator")
    named = cast.config.model_dump()
    assert named["policy"]["model"] == "/policies/one"
    assert (named["reference"]["adapter"], named["reference"]["trust_remote_code"]) == ("/adapter", True)
    assert (cast.identity["policy"], cast.identity["reference"]) == ("key-of-one", "key-of-start")


def test_an_implicit_reward_of_a_policy_against_itself_is_refused():
    judge = config(kind="implicit_reward", policy={"role": "good"}, reference={"role": "former"})
    first_round = ROLES | {"former": GOOD}
    with pytest.raises(ValueError, match=r"judging.annotator: policy and reference are the same weights"):
        cast_judge(judge, first_round, "judging.annotator")
    assert cast_judge(judge, ROLES | {"former": ROLES["initial"]}, "judging.annotator").identity["policy"] == GOOD.key


def test_the_way_a_server_is_spoken_to_changes_no_identity():
    slow = config(kind="rubric", engine=SERVER | {"concurrency": 1, "price_in": 1, "price_out": 2})
    fast = config(kind="rubric", engine=SERVER | {"concurrency": 64, "budget": {"max_calls": 9}})
    assert cast_judge(slow, {}, "x").identity == cast_judge(fast, {}, "x").identity
    assert same_judge(slow, fast)


def test_a_template_is_part_of_the_identity(tmp_path: Path):
    own = tmp_path / "own.jinja"
    own.write_text("{% block system %}a{% endblock %}{% block user %}b{% endblock %}")
    first = cast_judge(config(kind="rubric", engine=SERVER, template=own), {}, "x").identity
    own.write_text("{% block system %}c{% endblock %}{% block user %}b{% endblock %}")
    second = cast_judge(config(kind="rubric", engine=SERVER, template=own), {}, "x").identity
    assert first["template"] != second["template"]
    with pytest.raises(ValueError, match="can't be read"):
        cast_judge(config(kind="rubric", engine=SERVER, template=tmp_path / "none"), {}, "x")


def test_weights_are_known_by_content_and_not_by_place(tiny_policy: Path, tmp_path: Path):
    shutil.copytree(tiny_policy, tmp_path / "moved")
    here, there = (
        cast_judge(config(kind="rubric", engine={"name": "vllm", "model": str(folder)}), {}, "x").identity
        for folder in (tiny_policy, tmp_path / "moved")
    )
    assert here == there


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"kind": "reward_model", "model": "/nowhere"}, "model"),
        ({"kind": "rubric", "engine": {"name": "vllm", "model": "/nowhere"}}, "engine.model"),
        (
            {"kind": "implicit_reward", "policy": {"role": "good"}, "reference": {"model": "/nowhere"}},
            "reference.model",
        ),
    ],
)
def test_a_model_that_is_not_there_is_named_with_its_field(fields: dict[str, Any], place: str):
    with pytest.raises(FileNotFoundError, match=rf"^judging.annotator.{place}: /nowhere: no such model folder"):
        cast_judge(config(**fields), ROLES, "judging.annotator")


def test_an_adapter_that_is_not_there_is_named_with_its_field(tiny_policy: Path, tmp_path: Path):
    engine = {"name": "vllm", "model": str(tiny_policy), "adapter": str(tmp_path)}
    with pytest.raises(FileNotFoundError, match=r"^judging.annotator.engine.adapter: adapter .*: no adapter_model"):
        cast_judge(config(kind="rubric", engine=engine), {}, "judging.annotator")


def test_a_folder_is_no_file_of_scores(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"judging.annotator.path: .* is no file"):
        cast_judge(config(kind="recorded", path=tmp_path), {}, "judging.annotator")


def test_members_of_one_kind_are_numbered():
    judges = [config(kind="maths"), config(kind="verifier", function="a:b"), config(kind="maths")]
    assert member_names(judges) == ["maths", "verifier", "maths-2"]


def test_at_the_gate_the_policy_that_the_round_began_with_judges_both_sides(tmp_path: Path):
    recipe = Recipe.model_validate(
        {
            "name": "small",
            "policy": {"model": "m"},
            "prompts": {"path": tmp_path / "prompts.jsonl"},
            "judging": {"annotator": {"kind": "self"}},
            "evaluation": {"judge": {"kind": "pairwise", "engine": SERVER}},
        }
    )
    policies = Policies(ROLES["initial"], ROLES["initial"], GOOD, ROLES["initial"], GOOD, None)
    contest = plan_contest(recipe, PROMPTS, PolicyFiles("/policies/two", "key-of-two"), policies)
    judges = {scores.judge.identity["engine"]["model"] for scores in contest.by_annotator.scores if scores.judge}
    assert judges == {"key-of-one"}
    assert [len(scores.candidates) for scores in contest.by_annotator.scores] == [1, 1]
    assert [len(scores.candidates) for scores in contest.by_judge.scores] == [2]
    with pytest.raises(ValueError, match="a policy that rates its own successor is no independent judge"):
        Recipe.model_validate(recipe.model_dump() | {"evaluation": {"judge": {"kind": "self"}}})
