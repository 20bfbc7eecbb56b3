import pytest

from judging.reasons import reason_class


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("two_verdicts", "parse"),
        ("wrong_ids", "parse"),
        ("content_filter", "refused"),
        ("timeout", "timeout"),
        ("mass", "mass"),
        ("budget", "budget"),
        ("too_long", "too_long"),
        ("rate_limited", "server"),
        ("no_logprobs", "server"),
        ("my_verifiers_own", "other"),
    ],
)
def test_reasons_are_sorted_and_unknown_ones_are_other(reason, name):
    assert reason_class(reason) == name
