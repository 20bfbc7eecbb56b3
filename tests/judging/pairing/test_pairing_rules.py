import math
import statistics
from itertools import product

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging.config import PairingConfig
from judging.pairing.pairing import pair_candidates
from judging.pairing.pairing_config import RULE_NAMES
from tests.judging.answers_to_pair import Answer, ids, line_up, pair, prompt_drops, tables

FROM_THE_BEST = ("best_worst", "mu_minus_2sigma", "best_random", "best_second")


def test_best_second_rejects_the_next_lower_score():
    assert ids(pair(line_up(1, 4, 3, 4, 0), rule="best_second")) == [("p1", "p2")]


def test_best_random_rejects_any_lower_score_and_all_of_them_in_their_turn():
    answers = [answer for n in range(200) for answer in line_up(3, 2, 1, 0, prompt=f"q{n:03}-")]
    rejected = [rejected[-1] for _, rejected in ids(pair(answers, rule="best_random"))]
    assert {place: 50 < rejected.count(place) < 85 for place in "123"} == dict.fromkeys("123", True)


def test_best_random_draws_others_with_another_seed():
    answers = [answer for n in range(50) for answer in line_up(3, 2, 1, 0, prompt=f"q{n:03}-")]
    first, again, other = (ids(pair(answers, rule="best_random", seed=seed)) for seed in (0, 0, 1))
    assert first == again != other


def test_best_random_hangs_on_ids_and_not_on_the_other_prompts():
    answers = [answer for n in range(50) for answer in line_up(3, 2, 1, 0, prompt=f"q{n:03}-")]
    assert ids(pair(answers[80:120], rule="best_random")) == ids(pair(answers, rule="best_random"))[20:30]


def test_mu_minus_2sigma_leaves_the_outlier_at_the_bottom():
    scores = [*(n / 10 for n in range(31)), -40.0]
    deviation = statistics.pstdev(scores)
    target = statistics.mean(scores) - 2 * deviation
    assert -40 < target < -10  # nearest are the lowest of the others
    assert ids(pair(line_up(*scores), rule="mu_minus_2sigma")) == [("p30", "p0")]
    assert ids(pair(line_up(*scores), rule="best_worst")) == [("p30", "p31")]


def test_mu_minus_2sigma_divides_the_variance_by_n():
    # mean 1.7333, deviation 2.2409 (of a sample 2.3196): the target is -2.7484 (-2.9058), between -1.6 and -4.0.
    scores = [4.0] * 8 + [2.0] * 2 + [-1.0] * 3 + [-1.6] + [-4.0]
    target = statistics.mean(scores) - 2 * statistics.pstdev(scores)
    nearest = min(scores, key=lambda score: abs(score - target))
    made = pair(line_up(*scores), rule="mu_minus_2sigma").pairs.to_pylist()
    assert [row["rejected_score"] for row in made] == [nearest]


def test_correct_incorrect_uses_every_answer_before_one_comes_twice():
    made = pair(line_up(1, 1, 1, 0, 0, 0, 0, 0), rule="correct_incorrect", max_pairs=5)
    chosen, rejected = zip(*ids(made), strict=True)
    assert sorted(map(chosen.count, set(chosen))) == [1, 2, 2]
    assert len(set(rejected)) == 5


def test_correct_incorrect_makes_ten_pairs_of_a_prompt_unless_told():
    answers = line_up(*[1] * 5, *[0] * 5)
    assert len(pair(answers, rule="correct_incorrect").pairs) == 10
    every = ids(pair(answers, rule="correct_incorrect", max_pairs=99))
    assert set(every) == set(product([f"p{n}" for n in range(5)], [f"p{n}" for n in range(5, 10)]))
    assert len(every) == 25


def test_correct_incorrect_says_which_prompts_have_one_kind_only():
    answers = [*line_up(1, 0.75, prompt="easy"), *line_up(0.25, 0, prompt="hard"), *line_up(0, 0, prompt="tied")]
    assert prompt_drops(pair(answers, rule="correct_incorrect", pass_score=0.5)) == {
        "easy": ("all_correct", 0.75, 0.5), "hard": ("none_correct", 0.25, 0.5), "tied": ("none_correct", 0.0, 0.5),
    }  # fmt: skip


def test_top_p_draws_from_both_ends():
    answers = [answer for n in range(60) for answer in line_up(*range(8), prompt=f"q{n:02}-")]
    made = ids(pair(answers, rule="top_p", top_share=0.25))
    assert {(chosen[-1], rejected[-1]) for chosen, rejected in made} == set(product("67", "01"))
    assert len(made) == 60


def test_top_p_of_a_small_share_takes_the_two_ends():
    assert ids(pair(line_up(2, 5, 1, 3), rule="top_p", top_share=0.01)) == [("p1", "p2")]


def test_all_pairs_weighs_each_pair_by_its_margin():
    made = pair(line_up(2, 0, 1), rule="all_pairs", slope=0.5)
    weights = {(row["chosen_id"], row["rejected_id"]): row["weight"] for row in made.pairs.to_pylist()}
    one, two = (1 / (1 + math.exp(-0.5 * gap)) for gap in (1, 2))
    assert weights == pytest.approx({("p0", "p1"): two, ("p0", "p2"): one, ("p2", "p1"): one})


def test_cap_leaves_all_pairs_a_draw_of_every_kind():
    answers = [answer for n in range(200) for answer in line_up(2, 1, 0, prompt=f"q{n:03}-")]
    made = ids(pair(answers, rule="all_pairs", max_pairs=1))
    kinds = [chosen[-1] + rejected[-1] for chosen, rejected in made]
    assert {kind: 50 < kinds.count(kind) < 85 for kind in ("01", "02", "12")} == dict.fromkeys(("01", "02", "12"), True)


def test_blocks_of_prompts_change_nothing(monkeypatch):
    answers = [answer for n in range(9) for answer in line_up(*range(n + 2), prompt=f"q{n}-")]
    whole = {rule: pair(answers, rule=rule, length_band=0.0) for rule in RULE_NAMES}
    monkeypatch.setattr("judging.pairing.picking._COUPLES_PER_BLOCK", 10)
    for rule in RULE_NAMES:
        made = pair(answers, rule=rule, length_band=0.0)
        assert made.pairs.equals(whole[rule].pairs)
        assert made.drops.equals(whole[rule].drops)


@given(st.lists(st.tuples(st.none() | st.integers(-3, 3), st.none() | st.integers(-3, 3)), max_size=8))
def test_two_answers_make_all_rules_equal(pairs):
    answers = [answer for n, scores in enumerate(pairs) for answer in line_up(*scores, prompt=f"q{n}-")]
    expected = ids(pair(answers, rule="best_worst"))
    for rule in RULE_NAMES:
        if rule != "correct_incorrect":  # which has no pair where both answers pass, or neither does
            assert ids(pair(answers, rule=rule)) == expected
    one_passes = {f"q{n}-" for n, scores in enumerate(pairs) if None not in scores and min(scores) < 0.5 <= max(scores)}
    made = pair(answers, rule="correct_incorrect")
    assert ids(made) == [couple for couple in expected if couple[0][:-1] in one_passes]


ANSWERS = st.lists(
    st.builds(
        Answer,
        id=st.uuids().map(str),
        score=st.none() | st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]),
        text=st.sampled_from(["", "a", "b", "aa", "aaa", "bbb", "a" * 9]),
        prompt=st.sampled_from("pqr"),
        finish=st.sampled_from([None, "stop", "length"]),
        policy=st.sampled_from(["ours", "theirs", None]),
        index=st.integers(0, 3),
    ),
    max_size=14,
    unique_by=lambda answer: answer.id,
)


@st.composite
def configs(draw):
    """Any rule under any conditions."""
    rule = draw(st.sampled_from(RULE_NAMES))
    fields = {
        "rule": rule,
        "tie_rule": draw(st.sampled_from(["length", "random"])),
        "length_band": draw(st.none() | st.sampled_from([0.0, 0.5, 2.0])),
        "chosen_must_finish": draw(st.booleans()),
        "min_chosen_score": draw(st.none() | st.sampled_from([0.0, 1.0])),
        "require_on_policy": draw(st.booleans()),
    }
    if draw(st.booleans()):
        fields |= {"margin_unit": "probability", "slope": draw(st.sampled_from([0.5, 2.0]))}
        fields |= {"min_margin": draw(st.sampled_from([0.0, 0.6])), "max_margin": draw(st.sampled_from([None, 0.9]))}
    else:
        fields |= {"min_margin": draw(st.sampled_from([0.0, 0.5])), "max_margin": draw(st.sampled_from([None, 1.5]))}
    if rule not in FROM_THE_BEST:
        fields["max_pairs"] = draw(st.sampled_from([None, 1, 2]))
    if rule == "top_p":
        fields["top_share"] = draw(st.sampled_from([0.1, 0.5]))
    if rule != "correct_incorrect":
        fields["length_control"] = draw(st.sampled_from(["none", "fitted"]))
    return PairingConfig(**fields)


def run(answers, config):
    policies = {"ours"} if config.require_on_policy and any(a.policy == "ours" for a in answers) else None
    if policies is None:
        config = config.model_copy(update={"require_on_policy": False})
    return pair_candidates(*tables(answers, list("pqr")), config, policies), config


def failed_condition(chosen, rejected, config):
    """The first condition that a couple does not meet, by a plain look at it; None = it may be a pair."""
    gap = chosen.score - rejected.score
    margin = gap if config.margin_unit == "score" else 1 / (1 + math.exp(-config.slope * gap))
    if gap <= 0:
        return "tied"
    if margin <= config.min_margin:
        return "min_margin"
    if chosen.text == rejected.text:
        return "same_text"
    if config.chosen_must_finish and chosen.finish == "length":
        return "truncated"
    if config.min_chosen_score is not None and chosen.score < config.min_chosen_score:
        return "low_score"
    if config.max_margin is not None and margin > config.max_margin:
        return "max_margin"
    apart = abs(len(chosen.text) - len(rejected.text)) / max(len(chosen.text), 1)
    if config.length_band is not None and apart > config.length_band:
        return "length_band"
    if config.require_on_policy and "ours" not in (chosen.policy, rejected.policy):
        return "off_policy"
    return None


@given(ANSWERS, configs())
def test_every_pair_meets_every_condition_and_nothing_is_lost(answers, config):
    made, config = run(answers, config)
    by_id = {answer.id: answer for answer in answers}
    for chosen, rejected in ids(made):
        assert by_id[chosen].prompt == by_id[rejected].prompt
        assert failed_condition(by_id[chosen], by_id[rejected], config) is None
    most = (
        {"correct_incorrect": 10, "all_pairs": 99}.get(config.rule, 1) if config.max_pairs is None else config.max_pairs
    )
    prompts = [by_id[chosen].prompt for chosen, _ in ids(made)]
    assert all(prompts.count(prompt) <= most for prompt in prompts)
    assert len(set(ids(made))) == len(ids(made))
    used = {id for couple in ids(made) for id in couple}
    rows = made.drops.to_pylist()
    assert sorted(row["id"] for row in rows if row["kind"] == "candidate") == sorted(by_id.keys() - used)
    left = {answer.prompt for answer in answers} - set(prompts)
    assert sorted(row["id"] for row in rows if row["kind"] == "prompt") == sorted(left)
    assert all(row["reason"] and row["step"] == config.rule for row in rows)
    if config.length_control == "none":
        assert "length_control" not in {row["reason"] for row in rows}


@given(ANSWERS, configs(), st.randoms(use_true_random=False))
def test_order_of_rows_changes_nothing(answers, config, random):
    straight, _ = run(answers, config)
    turned, _ = run(random.sample(answers, len(answers)), config)
    assert straight.pairs.equals(turned.pairs)
    assert straight.drops.equals(turned.drops)
    assert straight.facts == turned.facts


def may_be_chosen(answer, config):
    enough = config.min_chosen_score is None or answer.score >= config.min_chosen_score
    return enough and not (config.chosen_must_finish and answer.finish == "length")


def expected_couples(own, config):
    """What a rule pairs of one prompt's scored answers, by a plain loop; a list of those it may draw from."""
    stand = [(a, b) for a in own for b in own if a is not b and failed_condition(a, b, config) is None]
    if config.rule == "all_pairs":
        return stand
    if config.rule == "correct_incorrect":
        return [(a, b) for a, b in stand if a.score >= config.pass_score > b.score]
    candidates = [answer for answer in own if may_be_chosen(answer, config)]
    if not candidates:
        return []
    best = min(candidates, key=lambda a: (-a.score, len(a.text), a.index, a.id))
    couples = [(a, b) for a, b in stand if a is best]
    scores = [answer.score for answer in own]
    target = statistics.mean(scores) - 2 * statistics.pstdev(scores)
    keys = {
        "best_worst": lambda b: b.score,
        "best_second": lambda b: -b.score,
        "mu_minus_2sigma": lambda b: round(abs(b.score - target), 9),
        "best_random": lambda b: 0,
    }
    nearest = min((keys[config.rule](b) for _, b in couples), default=None)
    couples = [(a, b) for a, b in couples if keys[config.rule](b) == nearest]
    if config.rule == "best_random":
        return couples
    closest = min((abs(len(b.text) - len(a.text)) for a, b in couples), default=None)
    return [(a, b) for a, b in couples if abs(len(b.text) - len(a.text)) == closest]


@given(ANSWERS, configs())
def test_rules_agree_with_a_plain_loop(answers, config):
    hypothesis.assume(config.rule != "top_p")
    wanted = {"length_control": "none", "tie_rule": "length", "max_pairs": 99}
    made, config = run(
        answers, config.model_copy(update=wanted if config.rule not in FROM_THE_BEST else wanted | {"max_pairs": None})
    )
    by_id = {answer.id: answer for answer in answers}
    for prompt in "pqr":
        own = [answer for answer in answers if answer.prompt == prompt and answer.score is not None]
        of_prompt = {couple for couple in ids(made) if by_id[couple[0]].prompt == prompt}
        expected = {(a.id, b.id) for a, b in expected_couples(own, config)}
        if config.rule in FROM_THE_BEST:
            assert of_prompt <= expected
            assert len(of_prompt) == min(1, len(expected))
        else:
            assert of_prompt == expected


@given(ANSWERS)
def test_top_p_pairs_one_of_the_upper_with_one_of_the_lower_half(answers):
    made = pair(answers, rule="top_p", top_share=0.5, chosen_must_finish=False)
    by_id = {answer.id: answer for answer in answers}
    for chosen, rejected in ids(made):
        scores = sorted(a.score for a in answers if a.prompt == by_id[chosen].prompt and a.score is not None)
        assert by_id[rejected].score <= scores[len(scores) // 2 - 1]
        assert by_id[chosen].score >= scores[-(len(scores) // 2)]


@given(ANSWERS, configs())
def test_reason_of_a_prompt_is_the_condition_at_which_its_last_couple_fell(answers, config):
    config = config.model_copy(update={"rule": "all_pairs", "length_control": "none"})
    made, config = run(answers, config)
    order = ["tied", "min_margin", "same_text", "truncated", "low_score", "max_margin", "length_band", "off_policy"]
    for prompt, (reason, _, _) in prompt_drops(made).items():
        own = [answer for answer in answers if answer.prompt == prompt and answer.score is not None]
        if len(own) < 2:
            assert reason == "too_few_scored"
        else:
            failed = [failed_condition(a, b, config) for a in own for b in own if a is not b]
            assert None not in failed
            assert reason == max(failed, key=order.index)


@given(ANSWERS)
def test_answer_between_the_best_and_the_worst_changes_no_pair_of_best_worst(answers):
    before = pair(answers, chosen_must_finish=False)
    between = [
        Answer(f"new-{row['prompt_id']}", (row["chosen_score"] + row["rejected_score"]) / 2, "new", row["prompt_id"])
        for row in before.pairs.to_pylist()
    ]
    assert ids(pair(answers + between, chosen_must_finish=False)) == ids(before)
