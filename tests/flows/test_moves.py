import pytest

from flows.iteration import IterationConfig, RetryConfig, StopConfig
from flows.moves import End, Move, RoundFigures, next_move


def tried(number: int, attempt: int = 0, **figures) -> RoundFigures:
    fields = {"passed": True, "gold_delta": 0.1, "annotator_delta": 0.1, "kl": 1.0}
    return RoundFigures(number, attempt, **fields | {"entropy_share": 1.0, "distinct_share": 1.0} | figures)


def test_a_run_begins_with_round_one():
    assert next_move(IterationConfig(), 3, []) == Move(1, 0)


def test_rounds_follow_each_other_to_the_last():
    assert next_move(IterationConfig(), 2, [tried(1)]) == Move(2, 0)
    assert next_move(IterationConfig(), 2, [tried(1), tried(2)]) == End(None, "all 2 rounds are done")


def test_a_refused_round_is_followed_by_the_next_prompts():
    assert next_move(IterationConfig(on_refusal="keep"), 3, [tried(1, passed=False)]) == Move(2, 0)


def test_a_refused_round_stops_the_run_where_the_recipe_says_so():
    end = next_move(IterationConfig(on_refusal="stop"), 3, [tried(1, passed=False)])
    assert isinstance(end, End)
    assert end.rule == "refusal"


def test_a_refused_round_is_retried_at_most_so_many_times():
    config = IterationConfig(on_refusal="retry", retry=RetryConfig(times=2))
    done = [tried(1, passed=False)]
    assert next_move(config, 3, done) == Move(1, 1)
    done.append(tried(1, 1, passed=False))
    assert next_move(config, 3, done) == Move(1, 2)
    done.append(tried(1, 2, passed=False))
    assert next_move(config, 3, done) == Move(2, 0)


def test_a_retry_that_passes_leads_to_the_next_round():
    config = IterationConfig(on_refusal="retry")
    assert next_move(config, 3, [tried(1, passed=False), tried(1, 1)]) == Move(2, 0)


@pytest.mark.parametrize(
    ("stop", "last"),
    [
        ({"no_gain_rounds": 2}, {"passed": False}),
        ({"annotator_only": True}, {"gold_delta": 0.0}),
        ({"min_entropy_share": 0.8}, {"entropy_share": 0.79}),
        ({"min_distinct_share": 0.9}, {"distinct_share": 0.5}),
        ({"max_kl": 2.0}, {"kl": 2.5}),
    ],
)
def test_each_stop_rule_fires_on_its_own_figure_and_names_itself(stop, last):
    config = IterationConfig(stop=StopConfig(**stop))
    done = [tried(1, passed=False), tried(2, **last)]
    end = next_move(config, 9, done)
    assert isinstance(end, End)
    assert end.rule == next(iter(stop))
    assert f"iteration.stop.{end.rule}" in end.reason
    assert next_move(config, 9, [tried(1), tried(2)]) == Move(3, 0)
    assert next_move(IterationConfig(), 9, done) == Move(3, 0)


def test_rounds_without_gain_are_counted_by_round_and_not_by_retry():
    config = IterationConfig(on_refusal="retry", retry=RetryConfig(times=1), stop=StopConfig(no_gain_rounds=2))
    done = [tried(1), tried(2, passed=False), tried(2, 1, passed=False)]
    assert next_move(config, 9, done) == Move(3, 0)
    done += [tried(3, passed=False), tried(3, 1, passed=False)]
    end = next_move(config, 9, done)
    assert isinstance(end, End)
    assert end.reason.startswith("no policy was accepted in 2 rounds")


def test_a_retry_comes_before_a_stop_rule():
    config = IterationConfig(on_refusal="retry", stop=StopConfig(max_kl=1.0))
    assert next_move(config, 3, [tried(1, passed=False, kl=5.0)]) == Move(1, 1)


def test_an_unknown_figure_stops_nothing():
    config = IterationConfig(stop=StopConfig(max_kl=1.0, min_entropy_share=0.9, min_distinct_share=0.9))
    unknown = tried(1, kl=None, entropy_share=None, distinct_share=None)
    assert next_move(config, 3, [unknown]) == Move(2, 0)
