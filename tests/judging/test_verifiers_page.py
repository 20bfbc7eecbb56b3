"""docs/verifiers.md says what is so: its recipes are valid and its function works."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from judging.config import JudgingConfig
from judging.judge import Item
from judging.rules import compile_rules
from judging.verifier import Verifier
from judging.verifier_config import RuleConfig, RulesConfig, VerifierConfig

PAGE = (Path(__file__).parents[2] / "docs" / "verifiers.md").read_text()
RECIPES = [yaml.safe_load(block)["judging"] for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe["annotator"]["kind"])
def test_each_recipe_on_the_page_is_valid(recipe):
    assert JudgingConfig.model_validate(recipe).annotator.kind == recipe["annotator"]["kind"]


def test_every_judge_of_the_page_has_a_recipe():
    assert {recipe["annotator"]["kind"] for recipe in RECIPES} == {"maths", "rules", "verifier", "recorded"}


def test_the_example_of_weighted_rules_scores_as_the_page_says():
    assert "gets (3 + 1 + 1) / 6" in PAGE
    config = RulesConfig.model_validate(RECIPES[1]["annotator"])
    answer = "- a\n- b\n- c\n- d\n\nAnswer: Blue"
    assert compile_rules(config)(answer, "blue").score == pytest.approx(5 / 6)


def test_the_instructions_on_the_page_can_be_followed():
    paragraph = "the moon pulls the sea and so the tide comes [name] " * 14
    answer = f'"<<a title>>\n\n{paragraph}\n\n{paragraph}\n\np.s. see you."'
    config = RulesConfig.model_validate(RECIPES[2]["annotator"])
    verdict = compile_rules(config)(answer, None)
    assert (verdict.score, set(verdict.aspects.values())) == (1.0, {1.0})
    without_end = compile_rules(config)(answer.replace("p.s. ", ""), None)
    assert (without_end.score, without_end.aspects["postscript"]) == (0.0, 0.0)


def test_the_function_on_the_page_works(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "my_checks.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    items = [Item(f"c{n}", "p", [], "As Emma says", None, {"source_title": title}) for n, title in
             enumerate(["Emma", "Ulysses", None])]  # fmt: skip
    with Verifier(VerifierConfig.model_validate(RECIPES[4]["annotator"])) as judge:
        verdicts = [verdict for _, verdict in judge.score(enumerate(items))]
    assert [(verdict.score, verdict.reason) for verdict in verdicts] == [(1.0, None), (0.0, None), (None, "no_verdict")]


def test_the_table_of_rules_names_every_field():
    schema = TypeAdapter(RuleConfig).json_schema()
    for rule in schema["$defs"].values():
        for field in rule["properties"]:
            assert f"`{field}" in PAGE or f" {field}:" in PAGE or f"{field}: " in PAGE, field
