"""The weighted mean of two policies' weights."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.policies.average import average_policies


@pytest.fixture(scope="module")
def old(tiny_policy):
    return tiny_policy


@pytest.fixture(scope="module")
def new(other):
    return Path(other.model)


def weights(folder):
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def resaved(folder, output, **how):
    from transformers import AutoModelForCausalLM

    dtype = how.pop("dtype", "auto")
    AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).save_pretrained(output, **how)
    return output


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_weight_0_is_the_old_policy_and_1_the_new_one(old, new, tmp_path, weight):
    average_policies(old, new, weight, tmp_path / "mean")
    assert_same(weights(tmp_path / "mean"), weights(new if weight else old))


def test_weights_between_are_the_weighted_mean(old, new, tmp_path):
    average_policies(old, new, 0.6, tmp_path)
    before, after, mean = weights(old), weights(new), weights(tmp_path)
    assert mean.keys() == after.keys()
    for name, values in mean.items():
        wanted = 0.4 * before[name].double() + 0.6 * after[name].double()
        assert (values.double() - wanted).abs().max() < 1e-7


def test_mean_of_a_policy_with_itself_is_the_policy_to_the_last_bit(old, tmp_path):
    average_policies(old, old, 0.3, tmp_path)
    assert_same(weights(tmp_path), weights(old))


def test_result_is_a_policy_that_transformers_loads(old, new, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    average_policies(old, new, 0.6, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight  # tied, as in the two
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is two?"}], return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        assert model(**ids).logits.isfinite().all()


def test_shards_of_either_policy_are_read_and_those_of_the_new_one_written(old, new, tmp_path):
    from transformers import AutoModelForCausalLM

    cut = resaved(new, tmp_path / "cut", max_shard_size="100KB")
    other_cut = resaved(old, tmp_path / "other", max_shard_size="60KB")
    assert len(list(other_cut.glob("*.safetensors"))) > len(list(cut.glob("*.safetensors"))) > 1
    average_policies(old, new, 0.6, tmp_path / "whole")
    average_policies(other_cut, cut, 0.6, tmp_path / "sharded")
    assert_same(weights(tmp_path / "sharded"), weights(tmp_path / "whole"))
    assert {file.name for file in (tmp_path / "sharded").iterdir()} == {file.name for file in cut.iterdir()}
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "sharded").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights(tmp_path / "whole").items())


def test_mean_is_taken_in_float32_and_stored_in_the_new_ones_format(old, new, tmp_path):
    half = resaved(new, tmp_path / "half", dtype=torch.bfloat16)
    average_policies(old, half, 0.6, tmp_path / "mean")
    before, after = weights(old), weights(half)
    for name, values in weights(tmp_path / "mean").items():
        assert torch.equal(values, torch.lerp(before[name], after[name].float(), 0.6).bfloat16())


def test_whole_numbers_are_those_of_the_new_policy(tmp_path):
    for name, number in (("old", 1), ("new", 4)):
        (tmp_path / name).mkdir()
        save_file({"steps": torch.tensor([number])}, tmp_path / name / "model.safetensors")
    average_policies(tmp_path / "old", tmp_path / "new", 0.5, tmp_path / "mean")
    assert weights(tmp_path / "mean")["steps"].tolist() == [4]


def test_configs_are_copied_and_code_and_pickles_are_not(old, new, tmp_path):
    source = shutil.copytree(new, tmp_path / "source")
    for name in ("training_args.bin", "modeling_custom.py", "vocab.txt", "spiece.model"):
        (source / name).write_text("x")
    average_policies(old, source, 0.5, tmp_path / "mean")
    names = {file.name for file in (tmp_path / "mean").iterdir()}
    assert names == {file.name for file in source.iterdir()} - {"training_args.bin", "modeling_custom.py"}
    assert {"config.json", "tokenizer.json", "chat_template.jinja", "vocab.txt", "spiece.model"} < names


def test_policies_with_other_tensors_are_refused(old, new, tmp_path):
    other = shutil.copytree(new, tmp_path / "other")
    tensors = weights(other)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, other / "model.safetensors")
    with pytest.raises(ValueError, match=rf"{old} has no tensor lm_head.weight \(1 missing\)"):
        average_policies(old, other, 0.5, tmp_path / "mean")
    with pytest.raises(ValueError, match=rf"{old} has no tensor lm_head.weight \(1 missing\)"):
        average_policies(other, old, 0.5, tmp_path / "mean")


def test_policies_with_other_shapes_are_refused(old, new, tmp_path):
    other = shutil.copytree(new, tmp_path / "other")
    tensors = weights(other)
    tensors["model.norm.weight"] = torch.ones(65)
    save_file(tensors, other / "model.safetensors")
    with pytest.raises(ValueError, match=r"model.norm.weight has shape \[64\] in .* and \[65\] in"):
        average_policies(old, other, 0.5, tmp_path / "mean")


def test_folder_without_safetensors_is_refused(old, tmp_path):
    (tmp_path / "pytorch_model.bin").write_text("x")
    with pytest.raises(ValueError, match=r"neither model\.safetensors nor model\.safetensors\.index\.json"):
        average_policies(tmp_path, old, 0.5, tmp_path / "mean")


def test_adapter_is_refused(old, tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(ValueError, match="holds a LoRA adapter"):
        average_policies(old, tmp_path, 0.5, tmp_path / "mean")


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_weight_must_be_a_share(old, new, tmp_path, weight):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        average_policies(old, new, weight, tmp_path)
