import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.schema import DROPS, MESSAGES
from judging.pairing.exports import export_pairs
from judging.schema import PAIRS
from tests.judging.answers_to_pair import Answer, line_up, pair, vary


def question(prompt="p"):
    return {"role": "user", "content": f"Question {prompt}"}


def answer(text):
    return {"role": "assistant", "content": text}


def rows(exported):
    return exported.rows.to_pylist()


def left_out(exported):
    assert exported.drops.schema == DROPS
    return {row["id"]: (row["step"], row["reason"]) for row in exported.drops.to_pylist()}


def test_preference_pairs_are_lists_of_messages():
    exported = export_pairs(pair(line_up(1, 0)).pairs, "preference")
    assert rows(exported) == [
        {"prompt": [question()], "chosen": [answer("answer 0")], "rejected": [answer("answer 1")]}
    ]
    assert left_out(exported) == {}


def test_reward_model_data_are_whole_conversations_with_their_margin():
    exported = export_pairs(pair([*line_up(1, 0.25), *line_up(3, 1, prompt="q")]).pairs, "reward_model")
    assert rows(exported) == [
        {
            "chosen": [question("p"), answer("answer 0")],
            "rejected": [question("p"), answer("answer 1")],
            "margin": 0.75,
        },
        {"chosen": [question("q"), answer("answer 0")], "rejected": [question("q"), answer("answer 1")], "margin": 2.0},
    ]


def test_conversations_of_several_turns_keep_their_order():
    pairs = pair([*line_up(1, 0), *line_up(1, 0, prompt="q")]).pairs
    talk = [{"role": "system", "content": "Be brief."}, question(), answer("Yes?"), {"role": "user", "content": "Go"}]
    messages = pa.array([[question()], talk], MESSAGES)
    pairs = pairs.set_column(PAIRS.get_field_index("messages"), PAIRS.field("messages"), messages)
    [_, second] = rows(export_pairs(pairs, "reward_model"))
    assert second["chosen"] == [*talk, answer("answer 0")]
    assert second["rejected"] == [*talk, answer("answer 1")]


def test_kto_labels_both_sides_of_a_pair():
    exported = export_pairs(pair(line_up(1, 0.5, 0)).pairs, "kto")
    assert rows(exported) == [
        {"prompt": [question()], "completion": [answer("answer 0")], "label": True},
        {"prompt": [question()], "completion": [answer("answer 2")], "label": False},
    ]


def test_kto_of_all_pairs_cuts_each_prompt_in_the_middle():
    exported = export_pairs(pair(line_up(4, 3, 2, 1, 0), rule="all_pairs").pairs, "kto")
    labels = {row["completion"][0]["content"]: row["label"] for row in rows(exported)}
    assert labels == {"answer 0": True, "answer 1": True, "answer 3": False, "answer 4": False}
    assert left_out(exported) == {"p2": ("kto", "chosen_as_often_as_rejected")}


def test_sft_takes_the_best_chosen_answer_of_each_prompt():
    answers = vary(line_up(1, 1, 0), text=["a longer one", "short", "bad"]) + line_up(2, 5, prompt="q")
    exported = export_pairs(pair(answers, rule="all_pairs").pairs, "sft")
    assert rows(exported) == [
        {"prompt": [question("p")], "completion": [answer("short")]},
        {"prompt": [question("q")], "completion": [answer("answer 1")]},
    ]
    assert left_out(exported) == dict.fromkeys(("p0", "p2", "q0"), ("sft", "not_best"))


@pytest.mark.parametrize("form", ["preference", "kto", "sft", "reward_model"])
def test_no_pairs_give_no_rows(form):
    exported = export_pairs(PAIRS.empty_table(), form)
    assert (exported.rows.num_rows, exported.drops.num_rows) == (0, 0)


@pytest.mark.parametrize("form", ["preference", "reward_model"])
def test_blocks_change_nothing(form, monkeypatch):
    pairs = pair([answer for n in range(7) for answer in line_up(1, 0, prompt=f"q{n}")]).pairs
    whole = rows(export_pairs(pairs, form))
    monkeypatch.setattr("judging.pairing.exports._BLOCK", 2)
    assert rows(export_pairs(pairs, form)) == whole


@given(
    st.lists(
        st.builds(
            Answer, id=st.uuids().map(str), score=st.integers(0, 3).map(float), text=st.text(max_size=3),
            prompt=st.sampled_from("pq"), index=st.integers(0, 3),
        ),
        max_size=10, unique_by=lambda answer: answer.id,
    ),
    st.sampled_from(["kto", "sft"]),
    st.sampled_from(["best_worst", "all_pairs"]),
)  # fmt: skip
def test_every_answer_of_a_pair_is_exported_or_left_out_with_a_reason(answers, form, rule):
    pairs = pair(answers, rule=rule).pairs
    exported = export_pairs(pairs, form)
    in_pairs = set(pairs["chosen_id"].to_pylist()) | set(pairs["rejected_id"].to_pylist())
    dropped = exported.drops["id"].to_pylist()
    assert len(dropped) == len(set(dropped)) == len(in_pairs) - exported.rows.num_rows
    assert set(dropped) <= in_pairs
    if form == "sft":
        assert exported.rows.num_rows == len(set(pairs["prompt_id"].to_pylist()))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # TRL 1.16's own use of old names
def test_trls_trainers_read_the_exports(tiny_policy, tiny_reward, tmp_path):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

    pairs = pair([answer for n in range(8) for answer in line_up(1, 0, prompt=f"q{n}")]).pairs
    tokenizer = AutoTokenizer.from_pretrained(tiny_policy)
    common = {
        "output_dir": str(tmp_path), "max_steps": 2, "per_device_train_batch_size": 4, "report_to": "none",
        "bf16": False, "activation_checkpointing": False, "save_strategy": "no", "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    for form, trainer, config in (
        ("preference", DPOTrainer, DPOConfig), ("kto", KTOTrainer, KTOConfig), ("sft", SFTTrainer, SFTConfig),
        ("reward_model", RewardTrainer, RewardConfig),
    ):  # fmt: skip
        data = Dataset(export_pairs(pairs, form).rows)
        if form == "reward_model":
            model = AutoModelForSequenceClassification.from_pretrained(tiny_reward, dtype="float32")
        else:
            model = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype="float32")
        made = trainer(model=model, args=config(**common), train_dataset=data, processing_class=tokenizer)
        made.train()
        assert made.state.global_step == 2
