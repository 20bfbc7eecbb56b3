import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filtering.filter import Facts
from filtering.filtering import filter_pairs
from filtering.filters.refusal import REFUSAL, RefusalConfig
from judging.schema import PAIRS

ALL = RefusalConfig(name="refusal", prompts="all")
REFUSES = "I'm sorry, but I can't help with that."
ANSWERS = "Boil the eggs for nine minutes."


def pairs(*rows):
    """Make pairs from (chosen, rejected, margin)."""
    records = [
        {"pair_id": f"id{row}", "prompt_id": f"p{row}", "messages": [], "chosen": chosen, "rejected": rejected,
         "margin": margin}
        for row, (chosen, rejected, margin) in enumerate(rows)
    ]  # fmt: skip
    return pa.Table.from_pylist(records, schema=PAIRS)


def refuses(text, config=ALL):
    return REFUSAL.measure(pairs((text, ANSWERS, 1.0)), config)["chosen_refuses"][0].as_py()


def drops(table, config):
    return {row["id"]: row["reason"] for row in filter_pairs(table, [config]).drops.to_pylist()}


@pytest.mark.parametrize(
    "text",
    [
        "I can't help with that.",
        "I can’t help with that.",
        "I cannot assist with this request.",
        "I can not provide that information.",
        "I won't write this.",
        "I will not provide a recipe for it.",
        "I'm sorry, but I can't fulfill that request.",
        "I’m sorry, I’m afraid I can’t help you with that.",
        "Sorry, I am not able to give out his address.",
        "Sorry, we’re not allowed to tell you that.",
        "I apologize, but I do not feel comfortable generating such a list.",
        "I apologize, I should not pretend to be a pirate.",
        "Unfortunately, I am unable to share this.",
        "As an AI language model, I cannot provide legal advice.",
        "As an AI trained to be helpful, I'm not able to recommend this.",
        "I must respectfully decline.",
        "I have to decline to answer.",
        "I refuse to take part in this.",
        "I'm sorry, but that is against our rules.",
        "It would not be appropriate for me to comment on this.",
        "Hello! I'm sorry, I cannot help you with that.",
        "That seems very wrong. I'm sorry, but I do not know how to do this.",
        "\n\n  **I cannot create this content.**",
        "i cant do that, sorry",
    ],
)
def test_refusal_is_known_by_its_beginning(text):
    assert refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "\0",
        "I'm sorry to hear that your dog died.",
        "I'm so sorry for your loss. I can help you find a vet.",
        "I can help with that.",
        "I cannot stress enough how much this matters.",
        "I can't wait to hear how it went!",
        "I can’t say for sure, but I think so.",
        "Sorry, I didn’t understand. Can you say that again?",
        "As an AI, I don't have personal opinions, but here are both sides.",
        "I don't have access to real-time data.",
        "Unfortunately, cats do not learn French.",
        "You can't do that in Python.",
        "Banks cannot provide loans without a licence.",
        "Dear customer, we apologize for the delay. Your order is on its way.",
        "No, the crane cannot lift a mountain.",
        "Here is a poem. " + "The sea is blue. " * 30 + "I cannot help you now.",
        "She said: I'd love to come. He said he could not help.",
    ],
)
def test_apologies_questions_and_limits_are_no_refusals(text):
    assert not refuses(text)


def test_long_answer_that_begins_like_a_refusal_helps_after_all():
    long = REFUSES + " However, here is what you can do instead. " + ANSWERS * 20
    assert drops(pairs((long, ANSWERS, 1.0)), ALL) == {}
    assert drops(pairs((long, ANSWERS, 1.0)), RefusalConfig(name="refusal", prompts="all", max_chars=2000)) != {}


def test_each_case_is_dropped_only_if_asked_for():
    table = pairs((REFUSES, ANSWERS, 1.0), (ANSWERS, REFUSES, 1.0), (REFUSES, REFUSES, 1.0), (ANSWERS, ANSWERS, 1.0))
    assert drops(table, ALL) == {"id0": "chosen_refuses"}
    every = RefusalConfig(name="refusal", prompts="all", drop=("chosen_refuses", "rejected_refuses", "both_refuse"))
    assert drops(table, every) == {"id0": "chosen_refuses", "id1": "rejected_refuses", "id2": "both_refuse"}
    contexts = filter_pairs(table, [every]).drops
    assert dict(zip(contexts["id"].to_pylist(), contexts["context"].to_pylist(), strict=True))["id1"] == REFUSES


def test_only_prompts_that_a_judge_calls_harmless_make_a_refusal_a_fault(tmp_path):
    # p0 is harmless, p1 harmful, p2 unscored, p3 unknown, p4 has two scores with a mean of .5.
    path = tmp_path / "scores.parquet"
    ids = ["p0", "p1", "p2", "p4", "p4", "other"]
    pq.write_table(pa.table({"prompt_id": ids, "score": [0.9, 0.1, None, 0.2, 0.8, 1.0], "judge": ["j"] * 6}), path)
    table = pairs(*[(REFUSES, ANSWERS, 1.0)] * 5)
    config = RefusalConfig(name="refusal", benign_scores=path)
    assert drops(table, config) == {"id0": "chosen_refuses", "id4": "chosen_refuses"}
    stricter = RefusalConfig(name="refusal", benign_scores=path, min_benign=0.6)
    assert drops(table, stricter) == {"id0": "chosen_refuses"}
    assert REFUSAL.measured_by(stricter) == REFUSAL.measured_by(config) != REFUSAL.measured_by(ALL)


def test_other_scores_in_the_same_file_are_read_again(tmp_path):
    path = tmp_path / "scores.parquet"
    table = pairs((REFUSES, ANSWERS, 1.0))
    for score, dropped in ((1.0, {"id0": "chosen_refuses"}), (0.25, {})):
        pq.write_table(pa.table({"prompt_id": ["p0"] * int(4 * score), "score": [score] * int(4 * score)}), path)
        assert drops(table, RefusalConfig(name="refusal", benign_scores=path)) == dropped


def test_cap_keeps_the_refusals_with_the_largest_margins():
    table = pairs(*[(REFUSES, ANSWERS, margin) for margin in (0.1, 0.9, 0.5)], *[(ANSWERS, REFUSES, 0.2)] * 6)
    config = RefusalConfig(name="refusal", drop=(), max_share=0.25)
    tables = filter_pairs(table, [config])
    assert {row["id"]: (row["reason"], row["value"], row["threshold"]) for row in tables.drops.to_pylist()} == {
        "id0": ("refusal_share", pytest.approx(3 / 9), 0.25)
    }
    assert drops(tables.kept, config) == {}
    assert len(drops(table, RefusalConfig(name="refusal", drop=(), max_share=0.0))) == 3


def test_refusals_of_other_languages_can_be_named():
    german = RefusalConfig(name="refusal", prompts="all", more_patterns=("(?i)^(tut mir leid|das kann ich nicht)",))
    assert refuses("Tut mir leid, dabei helfe ich nicht.", german)
    assert not refuses("Tut mir leid, dabei helfe ich nicht.")
    assert REFUSAL.measured_by(german) != REFUSAL.measured_by(ALL)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "nothing says which prompts are harmless"),
        ({"prompts": "all", "benign_scores": __file__}, "leave one of them out"),
        ({"drop": []}, "leave the filter out"),
        ({"prompts": "all", "max_share": 1.0}, "max_share"),
        ({"prompts": "all", "max_chars": 0}, "max_chars"),
        ({"prompts": "all", "drop": ["anything"]}, "drop"),
        ({"prompts": "all", "more_patterns": ["("]}, r"more_patterns(.|\n)*no regular expression"),
        ({"prompts": "all", "more_patterns": [r"(a)\1"]}, r"more_patterns(.|\n)*no regular expression"),
    ],
)
def test_config_that_cannot_be_meant_is_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        RefusalConfig.model_validate({"name": "refusal", **fields})


def test_unreadable_scores_are_named(tmp_path):
    path = tmp_path / "scores.parquet"
    with pytest.raises(ValidationError, match=r"benign_scores(.|\n)*scores.parquet is not a file"):
        RefusalConfig(name="refusal", benign_scores=path)
    path.write_bytes(b"no parquet")
    config = RefusalConfig(name="refusal", benign_scores=path)
    table = pairs((REFUSES, ANSWERS, 1.0))
    with pytest.raises(ValueError, match=r"refusal.benign_scores: .*scores.parquet is no Parquet file"):
        REFUSAL.measure(table, config)
    pq.write_table(pa.table({"prompt_id": ["p0"], "label": [1]}), path)
    with pytest.raises(ValueError, match="has no column score; it has prompt_id, label"):
        REFUSAL.measure(table, config)
    pq.write_table(pa.table({"prompt_id": ["p0"], "score": ["high"]}), path)
    with pytest.raises(ValueError, match="holds string: give numbers"):
        REFUSAL.measure(table, config)


def test_text_of_5_mb_is_looked_at_where_it_begins():
    facts = REFUSAL.measure(pairs((REFUSES + "x" * 5_000_000, "y" * 5_000_000, 1.0)), ALL)
    assert facts["chosen_refuses"].to_pylist() == [True]
    assert facts["chosen_chars"].to_pylist() == [5_000_000 + len(REFUSES)]


SIDES = st.sampled_from([REFUSES, ANSWERS, ""])


@settings(deadline=None)
@given(
    st.lists(st.tuples(SIDES, SIDES, st.sampled_from([0.5, 1.0, None])), max_size=12),
    st.sampled_from([None, 0.0, 0.2, 0.34, 0.5, 0.9]),
    st.randoms(use_true_random=False),
)
def test_same_pairs_survive_in_any_order_and_a_second_time(rows, max_share, random):
    config = RefusalConfig(name="refusal", prompts="all", drop=("both_refuse",), max_share=max_share)
    table = pairs(*rows)
    straight = filter_pairs(table, [config])
    turned = filter_pairs(pairs(*rows).take(pa.array(random.sample(range(len(rows)), len(rows)), pa.int64())), [config])
    assert sorted(straight.kept["pair_id"].to_pylist()) == sorted(turned.kept["pair_id"].to_pylist())
    assert filter_pairs(straight.kept, [config]).kept.equals(straight.kept)
    n_refusing = straight.kept["chosen"].to_pylist().count(REFUSES)
    assert max_share is None or n_refusing <= max_share * len(straight.kept) + 1e-6


@settings(deadline=None)
@given(st.lists(st.tuples(SIDES, SIDES, st.just(1.0)), min_size=1, max_size=8))
def test_facts_of_a_pair_do_not_hang_on_the_others(rows):
    whole = REFUSAL.measure(pairs(*rows), ALL)
    one_by_one = [REFUSAL.measure(pairs(row), ALL) for row in rows]
    assert pa.concat_tables(one_by_one).combine_chunks().equals(whole.combine_chunks())
    columns = {name: whole[name].to_numpy() for name in whole.column_names}
    assert [one.reason for one in REFUSAL.decide(Facts(columns, *[np.arange(len(rows))] * 2), ALL)] == [
        "chosen_refuses"
    ]
