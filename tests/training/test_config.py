"""What a recipe may say about training."""

import pytest
from pydantic import ValidationError

from training.config import TrainingConfig


@pytest.mark.parametrize("learning_rate", [0.0, -1e-6, [1e-6], float("nan"), float("inf")])
def test_a_learning_rate_that_trains_nothing_is_refused(learning_rate):
    with pytest.raises(ValidationError, match="learning_rate"):
        TrainingConfig(learning_rate=learning_rate)
