from pathlib import Path

import pytest
import yaml

from flows.fields import FieldError
from flows.recipe import SHIPPED, Recipe, load_recipe

SMALL = {
    "name": "small",
    "policy": {"model": "org/model"},
    "prompts": {"path": "prompts.jsonl"},
    "judging": {"annotator": {"kind": "verifier", "function": "package.module:function"}},
    "evaluation": {"judge": {"kind": "maths"}},
}
SELF = {"kind": "self"}


def write(folder: Path, **changes) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(SMALL | changes))
    return path


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid(path: Path):
    assert load_recipe(path).name == path.stem.replace("_", "-")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sed": 1}, r"sed: unknown field; known here: evaluation, filtering, generation, .*seed"),
        ({"generation": {"engine": {"name": "vllm", "max_seqs": 4}}}, r"max_seqs: unknown field; .*max_num_seqs"),
        ({"generation": {"k": 1}}, r"generation: k is 1: a preference pair needs at least 2"),
        ({"generation": {"k": "four"}}, r"generation.k: .*valid integer.*got \"four\""),
        ({"generation": {"sampling": {"temperature": 0}}}, r"temperature 0 draws the same answer k = 4 times"),
        ({"judging": {"annotator": {"kind": "oracle"}}}, r"judging.annotator: .*'implicit_reward', 'verifier'"),
        ({"judging": {"annotator": {"kind": "verifier"}}}, r"function: this field is required and missing"),
        ({"training": {"loss": {"name": "simpo", "beta": 0.1}}}, r"loss.simpo.beta: .*greater than or equal to 1"),
        ({"judging": {"annotator": {"kind": "verifier", "function": "checks.cites"}}},
         r"function: function must read package.module:function \(got \"checks.cites\"\)"),
        ({"evaluation": {"judge": SELF}}, r"evaluation.judge can't be self"),
        ({"evaluation": {"judge": {"kind": "panel", "members": [{"judge": {"kind": "maths"}}, {"judge": SELF}]}}},
         r"evaluation.judge can't be self, nor have it as a member"),
        ({"training": {"loss": {"beta": 0.2}}}, r"loss: name is missing, .*write training.loss=\{name: ..., ...\}"),
        ({"training": {"loss": "dpo"}}, r"loss: wants fields of its own, such as .*\(got \"dpo\"\)"),
        ({"training": {"batch_size": 8, "micro_batch_size": 3}}, r"training: micro_batch_size is 3, which does"),
        ({"training": {"batch_size": 32, "distributed": {"processes": 3}}}, r"training: batch_size is 32, .*33 would"),
        ({"training": {"loss": {"name": "aot"}, "distributed": {"processes": 2}}}, r"distributed: with loss aot a"),
        ({"prompts": {}}, r"exactly one of `path`"),
        ({"name": "My Run"}, r"name: .*pattern"),
        ({"rounds": 0}, r"rounds: .*greater than or equal to 1 \(got 0\)"),
        ({"prompts": {"path": "p.jsonl", "each_round": "all", "per_round": 5}}, r"leave per_round out"),
        ({"generation": {"mix": [{"k": 1}]}}, r"give one of `policy`"),
        ({"generation": {"mix": [{"k": 1, "role": "base", "policy": {"model": "x"}}]}}, r"give one of `policy`"),
        ({"iteration": {"schedule": {"temperature": [1, 0.8]}}}, r"give evaluation.temperature"),
        ({"iteration": {"stop": {"max_kl": 3}}, "evaluation": {"judge": {"kind": "maths"}, "temperature": 0.7}},
         r"set evaluation.temperature to 1"),
        ({"training": {"reference": "ema", "lora": {"rank": 4}}}, r"leave training.lora and"),
        ({"training": {"loss": {"name": "simpo", "beta": 10}},
          "iteration": {"on_refusal": "retry", "retry": {"times": 2}}}, r"retry 2 would train with .*beta 40"),
        ({"training": {"learning_rate": 1e-6}, "iteration": {"schedule": {"learning_rate": [1e-6]}}},
         r"the schedule would win; leave one out"),
        ({"generation": {"k": 1, "mix": [{"k": 1, "role": "former"}]}}, r"k is 1: .* own policy in round 1"),
        ({"training": {"loss": {"name": "simpo"}, "reference": "base"}}, r"reference has no effect on simpo"),
        ({"policy": {"model": "org/model", "adapter": "lora"}}, r"set training.lora, with its rank"),
        ({"training": {"ema_weight": 0.3}}, r"ema_weight has no effect"),
        ({"iteration": {"retry": {"times": 3}}}, r"no effect without iteration.on_refusal: retry"),
        ({"iteration": {"on_refusal": "retry", "retry": {"learning_rate_factor": 1, "beta_factor": 1}}},
         r"train the same again"),
        ({"iteration": {"stop": {"annotator_only": True}}, "judging": {"annotator": {"kind": "maths"}},
          "evaluation": {"judge": {"kind": "maths"}}}, r"annotator_only can't fire"),
        ({"iteration": {"replay_share": 1.0}}, r"replay_share: .*less than 1"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_the_fix(tmp_path: Path, changes: dict, message: str):
    with pytest.raises(FieldError, match=message):
        load_recipe(write(tmp_path, **changes))


def test_all_problems_are_told_at_once(tmp_path: Path):
    with pytest.raises(FieldError, match=r"2 problem\(s\)\n  seed: .*\n  bogus: unknown"):
        load_recipe(write(tmp_path, seed="x", bogus=1))


def test_paths_count_from_the_recipe_and_hub_names_stay(tmp_path: Path):
    recipe = load_recipe(write(tmp_path))
    assert recipe.prompts.path == tmp_path / "prompts.jsonl"
    assert recipe.policy.model == "org/model"


def test_a_model_folder_beside_the_recipe_is_found(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    assert load_recipe(write(tmp_path, policy={"model": "mine"})).policy.model == str(tmp_path / "mine")


def test_overrides_reach_into_mappings_and_lists(tmp_path: Path):
    path = write(tmp_path, filtering={"filters": [{"name": "similarity"}]})
    sets = ["training.learning_rate=1e-6", "generation.k=8", "filtering.filters.0.max_similarity=0.5"]
    recipe = load_recipe(path, sets)
    assert recipe.training.learning_rate == 1e-6
    assert recipe.generation.k == 8
    assert recipe.filtering.filters[0].max_similarity == 0.5


@pytest.mark.parametrize("override", ["generation.k", "=3", "name.x=1", "filtering.filters.first=1"])
def test_a_broken_override_is_refused(tmp_path: Path, override: str):
    path = write(tmp_path, filtering={"filters": []})
    with pytest.raises(FieldError, match="--set"):
        load_recipe(path, [override])


def test_broken_yaml_names_the_file(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text("name: [")
    with pytest.raises(FieldError, match=r"recipe.yaml: not valid YAML"):
        load_recipe(path)


def test_an_unknown_recipe_lists_the_shipped_ones():
    with pytest.raises(FieldError, match=r"none of the shipped recipes \(.*demo"):
        load_recipe(Path("no-such-recipe"))


def test_a_round_has_its_scheduled_values_and_the_last_serves_all_after(tmp_path: Path):
    schedule = {"temperature": [1.0, 0.8], "beta": [0.1, 0.2], "learning_rate": [1e-6, 5e-7]}
    evaluation = {"judge": {"kind": "maths"}, "temperature": 1.0}
    recipe = load_recipe(write(tmp_path, iteration={"schedule": schedule}, evaluation=evaluation))
    for number, at in ((1, 0), (2, 1), (3, 1)):
        there = recipe.at_round(number)
        assert there.generation.sampling.temperature == schedule["temperature"][at]
        assert there.training.loss.beta == schedule["beta"][at]
        assert there.training.learning_rate == schedule["learning_rate"][at]


def test_each_retry_trains_more_gently(tmp_path: Path):
    recipe = load_recipe(write(tmp_path, training={"learning_rate": 8e-6, "loss": {"name": "dpo", "beta": 0.1}}))
    assert recipe.at_round(1, 2).training.learning_rate == pytest.approx(2e-6)
    assert recipe.at_round(1, 2).training.loss.beta == pytest.approx(0.4)


def test_a_resolved_recipe_reads_back_equal(tmp_path: Path):
    recipe = load_recipe(write(tmp_path, iteration={"schedule": {"learning_rate": [1e-6]}}))
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_the_resolved_recipe_of_a_run_with_schedules_can_be_run_again(tmp_path: Path):
    recipe = load_recipe(write(tmp_path, iteration={"schedule": {"learning_rate": [1e-6]}}))
    path = tmp_path / "resolved.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert load_recipe(path) == recipe
