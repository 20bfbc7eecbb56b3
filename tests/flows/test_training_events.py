"""What people see of a training while it runs."""

import io

from rich.console import Console

from flows.display import stage_bar, terminal_display
from flows.training_events import TrainingEvents, tell_warnings


def test_a_step_is_shown_with_the_newest_of_each_figure():
    events = TrainingEvents()
    assert events.step(0, 9, {"eval_rewards/accuracies": 0.5, "eval_loss": 0.7})["note"] == "held-out 0.50"
    first = events.step(1, 9, {"loss": 0.6931, "rewards/accuracies": 0.5, "tokens_per_s": 12345.6, "grad_norm": 1.0})
    assert first == {"done": 1, "total": 9, "note": "loss 0.693, accuracy 0.50, held-out 0.50, 12,346 tokens/s"}


def test_a_training_that_goes_on_says_from_where():
    events = TrainingEvents()
    assert events.step(7, 9, {}) == {"done": 7, "total": 9, "note": "resumed at step 7"}
    assert events.resumed_step == 7


def shown(**console):
    """What a stage of two parts shows."""
    text = io.StringIO()
    with terminal_display(Console(file=text, **console)), stage_bar("training") as on_event:
        for done in (0, 10, 20):
            on_event(TrainingEvents.preparing("reference log-probs", done, 20))
        for done in (1, 2):
            on_event(TrainingEvents().step(done, 2, {"loss": 0.5}))
        tell_warnings({"warnings": [{"code": "few_steps", "text": "only [2] steps"}]})
    return text.getvalue()


def test_lines_count_each_part_of_a_stage_from_zero():
    assert shown(force_terminal=False, width=200).splitlines() == [
        "training: reference log-probs: 0 of 20",
        "training: reference log-probs: 10 of 20",
        "training: reference log-probs: 20 of 20",
        "training: 1 of 2 loss 0.500",
        "training: 2 of 2 loss 0.500",
        "warning: few_steps: only [2] steps",
    ]


def test_a_narrow_terminal_shows_all_figures_of_the_bar():
    assert "2/2" in shown(force_terminal=True, width=80, color_system=None)
    assert "warning: few_steps: only [2] steps" in shown(force_terminal=True, width=80, color_system=None)
