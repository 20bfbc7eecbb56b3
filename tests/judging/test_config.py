"""What a recipe may say about judges."""

import pytest
from pydantic import ValidationError

from judging.config import RubricConfig

SERVER = {"kind": "rubric", "base_url": "http://127.0.0.1:1/v1", "model": "judge"}


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": "http://ada:s3cret@host/v1"},
        {"base_url": "http://ada:s3/cret@host/v1"},
        {"base_url": "http://host/v1?key=s3cret"},
        {"api_key_env": "sk-s3cret"},
        {"api_key_env": "s3cret key"},
    ],
)
def test_a_password_in_place_of_an_address_or_a_name_is_refused_without_repeating_it(fields):
    with pytest.raises(ValidationError) as error:
        RubricConfig(**(SERVER | fields))
    assert "s3" not in str(error.value)


@pytest.mark.parametrize("max_score", [0, 1])
def test_a_scale_of_fewer_than_two_ratings_is_refused(max_score):
    with pytest.raises(ValidationError, match=f"min_score 1 must be below max_score {max_score}"):
        RubricConfig(**SERVER, min_score=1, max_score=max_score)
