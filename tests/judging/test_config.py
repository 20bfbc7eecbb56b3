"""What a recipe may say about judges."""

import pytest
from pydantic import ValidationError

from judging.chat_config import ListwiseConfig, PairwiseConfig
from judging.config import JudgingConfig, PanelConfig, RubricConfig

ENGINE = {"name": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "judge"}


def rubric(**fields) -> RubricConfig:
    return RubricConfig(**({"kind": "rubric", "engine": ENGINE} | fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": "http://ada:s3cret@host/v1"},
        {"base_url": "http://ada:s3/cret@host/v1"},
        {"base_url": "http://host/v1?key=s3cret"},
        {"api_key_env": "sk-s3cret"},
        {"api_key_env": "s3cret key"},
        {"base_url": "s3cret"},
        {"base_url": "http://ada:s3cret/v1"},
        {"base_url": "http://[s3cret/v1"},
    ],
)
def test_a_password_in_place_of_an_address_or_a_name_is_refused_without_repeating_it(fields):
    judge = {"kind": "rubric", "engine": ENGINE | fields}
    tries = (
        lambda: RubricConfig(**judge),
        lambda: PanelConfig(kind="panel", members=[{"judge": judge}, {"judge": judge}]),
        lambda: JudgingConfig(annotator=judge),
    )
    for build in tries:
        with pytest.raises(ValidationError) as error:
            build()
        assert "s3" not in str(error.value)


@pytest.mark.parametrize("max_score", [0, 1])
def test_a_scale_of_fewer_than_two_ratings_is_refused(max_score):
    with pytest.raises(ValidationError, match=f"min_score 1 must be below max_score {max_score}"):
        rubric(max_score=max_score)
    with pytest.raises(ValidationError, match=f"min_score 1 must be below max_score {max_score}"):
        ListwiseConfig(kind="listwise", engine=ENGINE, max_score=max_score)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_score": 10}, "ratings are single digits from 1 to 9, got 1 to 10"),
        ({"min_score": 0}, "ratings are single digits from 1 to 9, got 0 to 5"),
        ({"n_samples": 3}, "n_samples has no effect on verdict expected"),
        ({"verdict": "written", "rationale": True}, "rationale and constrained belong to verdict expected"),
        ({"verdict": "json", "constrained": True}, "rationale and constrained belong to verdict expected"),
        ({"verdict": "written", "n_samples": 3}, "temperature 0 gives n_samples 3 times the same reply"),
        ({"aspects": []}, "aspects"),
        ({"aspects": [{"name": "clarity"}, {"name": "clarity"}]}, "aspects must have different names"),
        ({"aspects": [{"name": "wit"}]}, "aspect wit has no rubric: write one .*helpfulness, honesty"),
        ({"aspects": [{"name": "clarity", "weight": 0}]}, "weight"),
        ({"aspects": [{"name": "clarity", "weight": float("inf")}]}, "weight"),
        ({"aspects": [{"name": "clarity", "weight": float("nan")}]}, "weight"),
        ({"aspects": [{"name": "clarity", "weight": 1e308}, {"name": "honesty", "weight": 1e308}]}, "weight"),
        ({"aspects": [{"name": "clarity", "weight": 5e-324}]}, "weight"),  # 3.5 times it is 4 times it
        ({"aspects": [{"name": "clarity", "rubric": " "}]}, "rubric"),
        ({"aspects": [{"name": "Clear.mass", "rubric": "x"}]}, "name"),
        ({"min_mass": 1.1}, "min_mass"),
        ({"temperature": float("inf")}, "temperature"),
        ({"engine": ENGINE | {"base_url": "127.0.0.1:8000/v1"}}, r"base_url\n.*begins with http:// or https://"),
        ({"engine": ENGINE | {"base_url": "http://host:99999/v1"}}, "this is no address"),
        ({"engine": ENGINE | {"price_in": float("inf"), "price_out": 1}}, "price_in"),
        ({"engine": ENGINE | {"price_in": 1, "price_out": float("inf")}}, "price_out"),
        ({"constrained": True, "engine": ENGINE | {"structured": "response_format"}}, "takes JSON schemas only: set"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_way_out(fields, message):
    with pytest.raises(ValidationError, match=message):
        rubric(**fields)


@pytest.mark.parametrize("fields", [{"rubric": ""}, {"rubric": " "}, {"prior": float("inf")}])
def test_settings_of_a_comparing_judge_that_cannot_work_are_refused(fields):
    with pytest.raises(ValidationError, match=next(iter(fields))):
        PairwiseConfig(**({"kind": "pairwise", "engine": ENGINE} | fields))


@pytest.mark.parametrize("name", ["system", "user", "verdict"])
def test_a_new_aspect_needs_a_text_even_where_the_template_has_a_block_of_its_name(name):
    with pytest.raises(ValidationError, match=f"aspect {name} has no rubric"):
        rubric(aspects=[{"name": name}])
