"""Other people's answers through the whole pipeline, with a model that knows nothing.

Builds a random Llama of about 5M parameters and a 4,096-token BPE tokenizer trained on the texts at hand, then runs two
things with the command line alone, as a user would:

1. scored answers of several models -> pairs -> filters -> SimPO and DPO -> two policies, with the counts of each stage;
2. maths prompts answered by the random model and judged by the maths verifier: no answer is marked, every prompt is
   tied at zero, and the run ends with a clear message and trains nothing.

    python -m benchmarks.real_text --answers answers.parquet --maths maths.parquet --output DIR

`answers.parquet` has the columns prompt, response, model and score; `maths.parquet` prompt and answer.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import yaml

MAX_POSITIONS = 2048
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build_model(folder: Path, texts: list[str]) -> None:
    """Save a random Llama with a tokenizer trained on the texts."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|pad|>", "<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>", "<|system|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4096, special_tokens=specials, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|pad|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096, hidden_size=256, intermediate_size=704, num_hidden_layers=5, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=MAX_POSITIONS, tie_word_embeddings=True,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    print(f"model: {sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters, {MAX_POSITIONS} positions")
    model.save_pretrained(folder)


def prefloop(*arguments: str) -> dict:
    """Run one command with --json and return its object; its errors go through."""
    command = [str(Path(sys.executable).with_name("prefloop")), *arguments, "--json"]
    print("$ prefloop", *arguments, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout)
    print(json.dumps(result), flush=True)
    return result


def train_on_answers(answers: Path, model: Path, folder: Path, max_length: int) -> None:
    """Import, pair, filter and train twice."""
    imported = folder / "imported"
    prefloop("import", str(answers), "--output", str(imported))
    inputs = [f"--{name}={imported / name}.parquet" for name in ("prompts", "candidates", "scores")]
    prefloop("pair", *inputs, "--output", str(folder / "pairs.parquet"))
    prefloop("filter", "--input", str(folder / "pairs.parquet"), "--output", str(folder / "kept.parquet"))
    common = ["--input", str(folder / "kept.parquet"), "--model", str(model), "--set", "learning_rate=1e-5"]
    common += ["--set", "batch_size=16", "--set", "micro_batch_size=2", "--set", f"max_length={max_length}"]
    for loss in ("simpo", "dpo"):
        prefloop("train", *common, "--output", str(folder / loss), "--set", f"loss.name={loss}")


def ask_maths(maths: Path, model: Path, folder: Path, limit: int) -> None:
    """Run a recipe that must end before training, and show how it ends."""
    recipe = {
        "name": "maths",
        "policy": {"model": str(model)},
        "prompts": {"path": str(maths), "limit": limit, "split": {"eval_share": 0.1}},
        "generation": {
            "engine": {"name": "vllm", "dtype": "float32", "max_model_len": 512, "kv_cache_mb": 512},
            "sampling": {"max_new_tokens": 32},
        },
        "judging": {"annotator": {"kind": "maths"}},
        "evaluation": {"judge": {"kind": "maths"}},
    }
    path = folder / "maths.yaml"
    path.write_text(yaml.safe_dump(recipe))
    command = [str(Path(sys.executable).with_name("prefloop")), "run", str(path), "--workspace", str(folder / "maths")]
    print("$", *command, flush=True)
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    print(done.stderr[-1500:])
    policies = list((folder / "maths" / "policies").glob("*"))
    print(f"exit code {done.returncode}, policies trained: {len(policies)}")
    if done.returncode != 1 or policies:
        sys.exit("the run should have ended before training")


def main() -> None:
    """Read the options and run both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=Path, required=True)
    parser.add_argument("--maths", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--maths-rows", type=int, default=800, help="rows of the maths file to read")
    parser.add_argument(
        "--max-length", type=int, default=MAX_POSITIONS, help="longer pairs go to the ledger; less is faster"
    )
    options = parser.parse_args()
    answers, maths = pq.read_table(options.answers), pq.read_table(options.maths)
    texts = [text for table in (answers, maths) for name in ("prompt", "response") for text in table[name].to_pylist()]
    options.output.mkdir(parents=True, exist_ok=True)
    model = options.output / "model"
    build_model(model, texts)
    train_on_answers(options.answers.resolve(), model.resolve(), options.output.resolve(), options.max_length)
    ask_maths(options.maths.resolve(), model.resolve(), options.output.resolve(), options.maths_rows)


if __name__ == "__main__":
    main()
