"""Training with the real TRL on a tiny model."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from generation.engine import PolicyFiles
from generation.render import load_tokenizer, tokenizer_identity
from training.order import Order
from training.policies.policy import load_policy
from training.train import train

pytestmark = pytest.mark.slow

SIMPO = {"loss": {"name": "simpo", "beta": 2.5, "gamma_beta_ratio": 0.55}}
LORA = {"lora": {"rank": 4, "alpha": 8}}


def values(result, name):
    """A metric's values over the steps, in order."""
    return [row["value"] for row in result.metrics.to_pylist() if row["name"] == name]


def ignore(done, total, metrics):
    """Take a step's progress."""


def logprob(model, tokenizer, row, side):
    """One answer's log-prob sum by transformers alone."""
    prompt = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, return_dict=False)
    ids = torch.tensor([prompt + row[f"{side}_token_ids"]])
    with torch.no_grad():
        steps = model(ids).logits[0, :-1].double().log_softmax(-1)
    return steps.gather(1, ids[0, 1:, None])[len(prompt) - 1 :].sum().item()


def with_stored(pairs, policy, table_of):
    """The pairs with the log-probs that a generator with these weights would have stored."""
    model, tokenizer = load_policy(policy.model, policy.adapter), load_tokenizer(policy)
    rows = pairs.to_pylist()
    for row in rows:
        for side in ("chosen", "rejected"):
            row[f"{side}_logprob_sum"] = logprob(model, tokenizer, row, side)
    return table_of(rows)


def order_of(job, epoch):
    """Row numbers of an epoch, where each pair has a prompt of its own."""
    rows = job.pairs.num_rows
    return Order("by_prompt", job.seed, np.arange(rows), np.ones(rows), job.config.batch_size).of_epoch(epoch)


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_dpo_raises_the_margin_of_the_chosen_answers(job, vary):
    steps = []
    result = train(vary(job, {"epochs": 3}), lambda done, total, metrics: steps.append((done, total, metrics["loss"])))

    assert [step[:2] for step in steps] == [(i + 1, 9) for i in range(9)]
    assert values(result, "loss")[1:] == [step[2] for step in steps]
    assert values(result, "rewards/margins")[-1] > 0.1
    assert result.counts == {
        "pairs_in": 12,
        "pairs_trained": 12,
        "pairs_held_out": 0,
        "pairs_dropped": 0,
        "answers_retokenized": 0,
    }
    assert result.drops.num_rows == 0
    assert values(result, "num_tokens")[-1] == result.tokens
    assert np.isfinite(result.metrics["value"].to_numpy()).all()


def test_the_first_loss_is_ln_2_where_the_policy_is_its_own_reference(job):
    result = train(job, ignore)
    assert result.step0.observed_loss == pytest.approx(math.log(2), abs=1e-6)
    assert result.step0.expected_loss == pytest.approx(math.log(2), abs=1e-6)
    assert result.step0.margin == pytest.approx(0.0, abs=1e-5)
    assert (result.step0.pairs, result.step0.stored_answers, result.step0.stored_max_difference) == (4, 0, None)
    assert values(result, "loss")[:2] == pytest.approx([math.log(2)] * 2, abs=1e-6)


def test_another_reference_gives_the_loss_of_its_log_probs(job, vary, pairs, start, other, tokenizer):
    result = train(vary(job, {"batch_size": 12}, reference=other), ignore)
    rows = pairs.to_pylist()
    start_model, other_model = load_policy(start.model), load_policy(other.model)
    sums = [
        np.array([logprob(model, tokenizer, row, side) for row in rows])
        for model in (start_model, other_model)
        for side in ("chosen", "rejected")
    ]
    chosen, rejected, ref_chosen, ref_rejected = sums
    expected = np.logaddexp(0.0, -0.1 * (chosen - ref_chosen - rejected + ref_rejected)).mean()
    assert result.step0.observed_loss == pytest.approx(expected, abs=1e-5)
    assert abs(expected - math.log(2)) > 0.01


def test_stored_log_probs_of_the_start_policy_are_recomputed(job, vary, pairs, start, table_of):
    result = train(vary(job, pairs=with_stored(pairs, start, table_of)), ignore)
    assert result.step0.stored_answers == 24
    assert result.step0.stored_max_difference < 1e-5


def test_stored_log_probs_of_other_weights_raise(job, vary, pairs, other, table_of):
    with pytest.raises(ValueError, match=r"pair pair\d+: its chosen answer of .* look for other weights"):
        train(vary(job, pairs=with_stored(pairs, other, table_of)), ignore)


def test_stored_log_probs_are_checked_on_the_first_batch_without_a_reference(job, vary, pairs, start, table_of):
    result = train(vary(job, SIMPO, pairs=with_stored(pairs, start, table_of)), ignore)
    assert result.step0.stored_answers == 8


def test_simpo_has_the_losses_of_trls_own_simpo(job, vary, pair_row, table_of, tokenizer, start, tmp_path):
    rows = [pair_row(number, chosen_token_ids=None, rejected_token_ids=None) for number in range(4)]
    result = train(vary(job, SIMPO | {"epochs": 3}, pairs=table_of(rows)), ignore)

    assert result.counts["answers_retokenized"] == 8
    assert values(result, "loss")[1:] == pytest.approx(losses_of_cpo_trainer(rows, start, tmp_path), abs=1e-5)


def losses_of_cpo_trainer(rows, start, folder):
    """Three steps of TRL's experimental SimPO on the same texts, one batch a step."""
    from datasets import Dataset
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(start.model)
    texts = [
        {
            "prompt": tokenizer.apply_chat_template(row["messages"], tokenize=False, add_generation_prompt=True),
            "chosen": row["chosen"],
            "rejected": row["rejected"],
        }
        for row in rows
    ]
    config = CPOConfig(
        output_dir=str(folder / "cpo"), loss_type="simpo", cpo_alpha=0.0, beta=2.5, simpo_gamma=1.375,
        learning_rate=1e-3, lr_scheduler_type="constant", num_train_epochs=3, per_device_train_batch_size=4,
        max_length=256, bf16=False, activation_checkpointing=False, logging_steps=1, report_to="none",
        disable_tqdm=True, save_strategy="no", dataloader_pin_memory=False, max_grad_norm=1.0,
    )  # fmt: skip
    trainer = CPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(start.model, dtype="float32"), args=config,
        train_dataset=Dataset.from_list(texts), processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    return [log["loss"] for log in trainer.state.log_history if "loss" in log]


def test_simpo_logs_the_papers_rewards(job, vary, pairs, start, tokenizer):
    result = train(vary(job, SIMPO | {"batch_size": 12}), ignore)
    model, rows = load_policy(start.model), pairs.to_pylist()
    chosen, rejected = (
        np.array([2.5 * logprob(model, tokenizer, row, side) / len(row[f"{side}_token_ids"]) for row in rows])
        for side in ("chosen", "rejected")
    )
    assert values(result, "rewards/chosen")[0] == pytest.approx(chosen.mean(), abs=1e-4)
    assert values(result, "rewards/margins")[0] == pytest.approx((chosen - rejected).mean(), abs=1e-4)
    assert values(result, "rewards/accuracies")[0] == pytest.approx((chosen > rejected).mean())


def test_one_batch_can_be_learnt_by_heart(job, vary, pairs):
    result = train(vary(job, {"epochs": 15}, pairs=pairs.slice(0, 4)), ignore)
    assert values(result, "rewards/accuracies")[-1] == 1.0
    assert values(result, "loss")[-1] < 0.3


def test_the_trained_folder_is_a_policy_like_the_first(job, start):
    train(job, ignore)
    trained = AutoModelForCausalLM.from_pretrained(job.output)
    before = AutoModelForCausalLM.from_pretrained(start.model)

    assert trained.dtype == torch.float32
    assert trained.config.to_dict() | {"_name_or_path": ""} == before.config.to_dict() | {"_name_or_path": ""}
    assert trained.generation_config.to_dict() == before.generation_config.to_dict()
    moved = PolicyFiles(model=str(job.output), key="trained")
    assert tokenizer_identity(load_tokenizer(moved)) == tokenizer_identity(load_tokenizer(start))
    assert not torch.equal(trained.model.layers[0].mlp.up_proj.weight, before.model.layers[0].mlp.up_proj.weight)


def test_a_tokenizer_without_pad_token_stays_without(job, vary, start, tmp_path):
    folder = tmp_path / "no_pad"
    model = AutoModelForCausalLM.from_pretrained(start.model)
    model.config.pad_token_id = model.generation_config.pad_token_id = None
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(start.model)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    policy = PolicyFiles(model=str(folder), key="start")

    train(vary(job, start=policy, reference=policy), ignore)

    assert AutoTokenizer.from_pretrained(job.output).pad_token is None
    trained = AutoModelForCausalLM.from_pretrained(job.output)
    assert trained.config.pad_token_id is None
    assert trained.generation_config.pad_token_id is None


def test_the_same_seed_gives_the_same_weights(job, vary, tmp_path):
    first, second, third = (vary(job, output=tmp_path / name) for name in ("a", "b", "c"))
    for one in (first, second, vary(third, seed=4)):
        train(one, ignore)
    assert all(torch.equal(value, weights(second.output)[name]) for name, value in weights(first.output).items())
    assert not all(torch.equal(value, weights(third.output)[name]) for name, value in weights(first.output).items())


def test_micro_batches_change_nothing_even_where_the_last_is_smaller(job, vary, pairs, tmp_path):
    eleven = vary(job, {"epochs": 2}, pairs=pairs.slice(0, 11))
    whole = train(eleven, ignore)
    parts = train(vary(eleven, {"micro_batch_size": 2, "gradient_checkpointing": True}, output=tmp_path / "b"), ignore)
    assert len(values(whole, "loss")) == 1 + 6
    assert values(parts, "loss") == pytest.approx(values(whole, "loss"), abs=1e-5)
    assert values(parts, "grad_norm") == pytest.approx(values(whole, "grad_norm"), rel=1e-3)


def test_the_first_batch_is_the_one_that_was_checked(job, vary, pairs, start, other, tokenizer):
    result = train(vary(job, reference=other), ignore)
    first = [pairs.to_pylist()[row] for row in order_of(job, 0)[:4]]
    model = load_policy(start.model)
    assert values(result, "logps/chosen")[0] == pytest.approx(
        np.mean([logprob(model, tokenizer, row, "chosen") for row in first]), abs=1e-3
    )
    assert values(result, "loss")[1] == pytest.approx(result.step0.observed_loss, abs=1e-5)


def test_every_epoch_has_its_own_order(job, vary, pairs, tokenizer):
    result = train(vary(job, {"epochs": 2}), ignore)
    seen = np.diff([0.0, *values(result, "num_tokens")]).tolist()
    n_tokens = [
        2 * len(tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, return_dict=False))
        + len(row["chosen_token_ids"])
        + len(row["rejected_token_ids"])
        for row in pairs.to_pylist()
    ]
    orders = [order_of(job, epoch).reshape(3, 4) for epoch in (0, 1)]
    assert seen == [sum(n_tokens[row] for row in step) for order in orders for step in order]


def test_mixed_precision_starts_a_loss_whose_slope_jumps_at_the_reference(job, vary):
    changes = {"dtype": "bfloat16", "loss": {"name": "dpop", "beta": 30.0}, "learning_rate": 1e-9}
    step0 = train(vary(job, changes), ignore).step0
    assert abs(step0.expected_loss - step0.observed_loss) > 0.05  # rounding alone, which was taken for a fault


def test_mixed_precision_starts_at_ln_2_and_keeps_float32_weights(job, vary):
    result = train(vary(job, {"dtype": "bfloat16"}), ignore)
    assert result.step0.observed_loss == pytest.approx(math.log(2), abs=2e-2)
    assert {value.dtype for value in weights(job.output).values()} == {torch.float32}


def test_warm_up_and_decay_reach_the_learning_rate(job, vary):
    result = train(vary(job, {"warmup_share": 0.34, "lr_schedule": "linear", "epochs": 2}), ignore)
    rates = values(result, "learning_rate")
    assert rates[0] == 0.0
    assert max(rates) == rates[3] == pytest.approx(1e-3)
    assert rates[-1] < 0.5e-3


def test_a_fresh_adapter_is_all_that_is_written(job, vary, start, tokenizer, pairs):
    result = train(vary(job, LORA | {"epochs": 3}), ignore)
    assert result.step0.observed_loss == pytest.approx(math.log(2), abs=1e-6)
    assert values(result, "rewards/margins")[-1] > 0
    assert sorted(path.name for path in job.output.glob("*.safetensors")) == ["adapter_model.safetensors"]
    described = json.loads((job.output / "adapter_config.json").read_text())
    assert described["base_model_name_or_path"] == start.model
    assert (described["r"], described["lora_alpha"]) == (4, 8)
    row = pairs.to_pylist()[0]
    adapted = load_policy(start.model, str(job.output))
    assert logprob(adapted, tokenizer, row, "chosen") > logprob(load_policy(start.model), tokenizer, row, "chosen")


def test_an_adapter_is_trained_further(job, vary, start, tmp_path):
    train(vary(job, LORA), ignore)
    base_and_adapter = PolicyFiles(model=start.model, key="round1", adapter=str(job.output))
    second = vary(job, LORA, start=base_and_adapter, output=tmp_path / "second")

    against_itself = train(vary(second, reference=base_and_adapter), ignore)
    against_base = train(second, ignore)

    assert against_itself.step0.observed_loss == pytest.approx(math.log(2), abs=1e-6)
    assert against_base.step0.observed_loss < math.log(2) - 1e-3
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (job.output, second.output))
    assert before.keys() == after.keys()
    assert not any(torch.equal(before[name], after[name]) for name in before if "lora_A" in name)
    assert not any("ref" in name for name in after)


def test_an_adapter_of_another_rank_raises(job, vary, start, tmp_path):
    train(vary(job, LORA), ignore)
    base_and_adapter = PolicyFiles(model=start.model, key="round1", adapter=str(job.output))
    other_rank = {"lora": {"rank": 8, "alpha": 8}}
    with pytest.raises(ValueError, match=r"adapter has rank=4 .* but training\.lora says rank=8"):
        train(vary(job, other_rank, start=base_and_adapter, output=tmp_path / "second"), ignore)


def test_the_adapters_dropout_is_kept(job, vary, tmp_path):
    with_dropout = {"lora": {"rank": 4, "alpha": 8, "dropout": 0.5}}
    plain = train(vary(job, LORA, output=tmp_path / "a"), ignore)
    dropped = train(vary(job, with_dropout, output=tmp_path / "b"), ignore)
    assert dropped.step0.observed_loss == pytest.approx(math.log(2), abs=1e-6)
    assert values(dropped, "loss")[-1] != pytest.approx(values(plain, "loss")[-1], abs=1e-6)


def test_divergence_stops_with_the_step_and_the_pairs(job, vary):
    with pytest.raises(ValueError, match=r"training diverged: the .* is .* at step \d, on the pairs pair\d+, .*lower"):
        train(vary(job, {"learning_rate": 1e30, "epochs": 3}), ignore)


def test_dropped_pairs_are_in_the_ledger_and_not_trained_on(job, vary, pair_row, table_of):
    rows = [pair_row(0), pair_row(1, chosen="", chosen_token_ids=[2]), pair_row(2)]
    result = train(vary(job, pairs=table_of(rows)), ignore)
    assert result.counts == {
        "pairs_in": 3,
        "pairs_trained": 2,
        "pairs_held_out": 0,
        "pairs_dropped": 1,
        "answers_retokenized": 0,
    }
    assert result.drops["id"].to_pylist() == ["pair1"]


def test_no_pair_to_train_on_raises(job, vary):
    with pytest.raises(
        ValueError, match=r"no pair left to train on: 12 came in, dropped for \{'prompt_too_long': 12\}"
    ):
        train(vary(job, {"max_length": 8}), ignore)


def test_jobs_that_make_no_sense_raise(job, vary, start):
    with pytest.raises(ValueError, match="micro_batch_size is 3, which does not divide batch_size = 4"):
        vary(job, {"micro_batch_size": 3})
    with pytest.raises(ValueError, match="the start policy has a LoRA adapter"):
        vary(job, start=PolicyFiles(model=start.model, key="k", adapter="somewhere"))
