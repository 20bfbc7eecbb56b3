import math

import pytest

from judging.config import PairingConfig
from judging.pairing.pairing_config import RULE_NAMES
from judging.pairing.rule_comparison import compare_rules
from tests.judging.answers_to_pair import line_up, tables, vary


def compare(answers, *configs, on_policy=None):
    return {row.rule: row for row in compare_rules(*tables(answers), list(configs), on_policy)}


def test_figures_of_each_rule():
    answers = vary(line_up(4, 3, 0), text=["a" * 8, "b" * 5, "c" * 2]) + line_up(1, 1, prompt="tied")
    found = compare(answers, *(PairingConfig(rule=rule) for rule in ("best_worst", "best_second", "all_pairs")))
    best, second, every = found.values()
    assert (best.pairs, best.prompts, best.prompt_share) == (1, 1, 0.5)
    assert (best.mean_margin, best.length_gap, best.agreement) == (4.0, 6.0, 1.0)
    assert (second.mean_margin, second.length_gap, second.agreement) == (1.0, 3.0, 0.0)
    assert (every.pairs, every.prompts, every.agreement) == (3, 1, 1.0)
    assert every.mean_margin == pytest.approx(8 / 3)
    assert best.drops == second.drops == every.drops == {"tied": 1}


def test_no_pairs_leave_the_means_out():
    for row in compare(line_up(1, 1), *(PairingConfig(rule=rule) for rule in RULE_NAMES)).values():
        assert (row.pairs, row.prompts, row.prompt_share) == (0, 0, 0.0)
        assert (row.mean_margin, row.length_gap, row.agreement) == (None, None, None)
        assert row.drops == {"all_correct" if row.rule == "correct_incorrect" else "tied": 1}


def test_no_candidates_at_all():
    [row] = compare([], PairingConfig()).values()
    assert (row.pairs, row.prompt_share, row.drops) == (0, 0.0, {})
    assert not math.isnan(row.seconds)


def test_conditions_hold_in_the_comparison_too():
    answers = vary(line_up(3, 2, 1), policy=["theirs", "ours", "theirs"])
    [row] = compare(answers, PairingConfig(require_on_policy=True), on_policy={"ours"}).values()
    assert row.mean_margin == 1.0
    with pytest.raises(ValueError, match="say which policy is trained"):
        compare(answers, PairingConfig(require_on_policy=True))
