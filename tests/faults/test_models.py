"""Models that could run code, or are not whole. A test's first line is the fault's name in docs/faults.md."""

import json
import shutil
from pathlib import Path

import pytest

from flows.model_files import check_model_files
from generation.config import SamplingConfig, TransformersConfig
from generation.engine import PolicyFiles
from generation.transformers_engine import TransformersEngine
from generation.vllm_limits import reserved_rank
from judging.config import RewardModelConfig
from judging.reward_model import RewardModel
from training.policies.policy import load_policy

# peft asks transformers for an attribute by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def pickled(folder: Path, copy: Path, weights: str, pickle: str) -> Path:
    """Copy a model's folder, its weights as a pickle that leaves a mark when it is loaded."""
    shutil.copytree(folder, copy)
    (copy / weights).unlink()
    (copy / pickle).write_bytes(b"cos\nsystem\n(S'touch " + str(copy / "executed").encode() + b"'\ntR.")
    return copy


def engine(policy: PolicyFiles) -> TransformersEngine:
    return TransformersEngine(TransformersConfig(dtype="float32"), policy, 1, SamplingConfig())


def test_pickled_policy(tiny_policy: Path, tmp_path: Path):
    """Policy with pickled weights only"""
    copy = pickled(tiny_policy, tmp_path / "m", "model.safetensors", "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"policy: .*/m holds only pytorch_model.bin; pickles are never loaded"):
        check_model_files(str(copy), trust_remote_code=True, field="policy")
    with pytest.raises(OSError, match=r"no file named model.safetensors"), engine(PolicyFiles(str(copy), "m")):
        pass
    with pytest.raises(OSError, match=r"no file named model.safetensors"):
        load_policy(str(copy))
    assert not (copy / "executed").exists()


def test_pickled_reward_model(tiny_reward: Path, tmp_path: Path):
    """Reward model with pickled weights only"""
    copy = pickled(tiny_reward, tmp_path / "m", "model.safetensors", "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"judging.annotator: .* pickles are never loaded"):
        check_model_files(str(copy), trust_remote_code=False, field="judging.annotator")
    config = RewardModelConfig(kind="reward_model", model=str(copy))
    with pytest.raises(OSError, match=r"no file named model.safetensors"), RewardModel(config):
        pass
    assert not (copy / "executed").exists()


def test_pickled_adapter(tiny_policy: Path, tmp_path: Path):
    """LoRA adapter with pickled weights only"""
    adapter = tmp_path / "a"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"r": 8, "peft_type": "LORA"}')
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    copy = pickled(adapter, tmp_path / "m", "adapter_model.safetensors", "adapter_model.bin")
    with pytest.raises(ValueError, match="pickles are never loaded"):
        check_model_files("some/model", str(copy), trust_remote_code=False, field="policy")
    refusal = r"has no adapter_model.safetensors"
    with pytest.raises(ValueError, match=refusal), engine(PolicyFiles(str(tiny_policy), "m", str(copy))):
        pass
    with pytest.raises(ValueError, match=refusal):
        load_policy(str(tiny_policy), str(copy))
    with pytest.raises(ValueError, match=refusal):  # vLLM's engine and server ask for the rank first
        reserved_rank(copy)
    assert not (copy / "executed").exists()


def test_model_with_code(tiny_policy: Path, tmp_path: Path):
    """Model whose folder wants its own code run"""
    copy = tmp_path / "m"
    shutil.copytree(tiny_policy, copy)
    config = json.loads((copy / "config.json").read_text())
    classes = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    (copy / "config.json").write_text(json.dumps(config | {"auto_map": classes, "model_type": "unheard_of"}))
    (copy / "code.py").write_text(f"open({str(copy / 'executed')!r}, 'w')")
    with pytest.raises(ValueError, match=r"set policy.trust_remote_code to true"):
        check_model_files(str(copy), trust_remote_code=False, field="policy")
    check_model_files(str(copy), trust_remote_code=True, field="policy")
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        load_policy(str(copy))
    assert not (copy / "executed").exists()


def test_model_with_code_that_is_not_needed(tiny_policy: Path, tmp_path: Path):
    """Model that brings code for what transformers knows"""
    copy = tmp_path / "m"
    shutil.copytree(tiny_policy, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModelForCausalLM": "code.Model"}}))
    (copy / "code.py").write_text(f"open({str(copy / 'executed')!r}, 'w')")
    check_model_files(str(tiny_policy), trust_remote_code=False, field="policy")
    check_model_files(str(copy), trust_remote_code=False, field="policy")
    assert load_policy(str(copy)).config.model_type == "llama"
    assert not (copy / "executed").exists()


def test_model_with_a_cut_config(tiny_policy: Path, tmp_path: Path):
    """Model config cut short"""
    copy = tmp_path / "m"
    shutil.copytree(tiny_policy, copy)
    (copy / "config.json").write_text('{"model_type": "lla')
    with pytest.raises(ValueError, match=r"config.json can't be read as JSON .*: fetch the model again"):
        check_model_files(str(copy), trust_remote_code=False, field="policy")


def test_model_that_is_an_adapter(tmp_path: Path):
    """Model folder that holds a LoRA adapter alone"""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"--model: .* is a LoRA adapter, not a whole model: `prefloop merge` makes"):
        check_model_files(str(tmp_path), trust_remote_code=False, field="--model")


def test_model_with_cut_weights(tiny_policy: Path, tmp_path: Path):
    """Weights of a given model cut short"""
    copy = tmp_path / "m"
    shutil.copytree(tiny_policy, copy)
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[:-1000])
    with pytest.raises(ValueError, match=r"policy: .*/model.safetensors is not whole .*: fetch the model again"):
        check_model_files(str(copy), trust_remote_code=False, field="policy")
