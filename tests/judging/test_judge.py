import math

import pytest

from judging.judge import Verdict


def test_score_alone_and_reason_alone_are_verdicts():
    assert Verdict(0.5).score == 0.5
    assert Verdict(None, reason="too_long").reason == "too_long"


@pytest.mark.parametrize(("score", "reason"), [(None, None), (1.0, "too_long")])
def test_verdict_has_a_score_or_a_reason(score, reason):
    with pytest.raises(ValueError, match="a score or a reason"):
        Verdict(score, reason=reason)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_score_that_is_not_finite_is_no_verdict(score):
    with pytest.raises(ValueError, match="score must be finite"):
        Verdict(score)
