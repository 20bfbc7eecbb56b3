"""Training with the real TRL on a tiny model."""

import math

import numpy as np
import pytest

from training.train import train

pytestmark = pytest.mark.slow


def values(result, name):
    """A metric's values over the steps, step 0 first where it has one."""
    return [row["value"] for row in result.metrics.to_pylist() if row["name"] == name]


def ignore(done, total, metrics):
    pass


def test_dpo_raises_the_margin_of_the_chosen_answers(job, vary):
    steps = []
    result = train(vary(job, {"epochs": 3}), lambda done, total, metrics: steps.append((done, total, metrics["loss"])))

    assert [step[:2] for step in steps] == [(i + 1, 9) for i in range(9)]
    margins = values(result, "rewards/margins")
    assert margins[0] == pytest.approx(0.0, abs=1e-4)
    assert margins[-1] > 0.1
    assert result.counts == {"pairs_in": 12, "pairs_trained": 12, "pairs_dropped": 0, "answers_retokenized": 0}
    assert result.step0.observed_loss == pytest.approx(math.log(2), abs=1e-5)
    assert values(result, "num_tokens")[-1] == result.tokens
    assert np.isfinite(result.metrics["value"].to_numpy()).all()
