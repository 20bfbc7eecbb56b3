"""Build the film world from nothing: prompts, tokenizer, writer and reward model, about ten minutes on one core.

    python -m recipes.film_reviews.build --output data

One seed draws everything, and one thread does all the sums.
"""

import argparse
import json
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from recipes.film_reviews.grammar import WRITER_NOISE, Prompt, draw_noisy_review, draw_prompts
from recipes.film_reviews.lexicon import Split
from recipes.film_reviews.measure import measure_pair_accuracy, measure_writer, probe_reward_model
from recipes.film_reviews.preferences import draw_preferences
from recipes.film_reviews.reward_model import PAIR_PROMPTS, WARMUP_PROMPTS, train_on_pairs, warm_up
from recipes.film_reviews.sampling import sample_reviews
from recipes.film_reviews.tokenizer import train_tokenizer
from recipes.film_reviews.writer import WRITER_PROMPTS, train_writer

PROMPTS_SHIPPED: dict[Split, int] = {"train": 4_096, "eval": 192, "vault": 192}

_SAMPLES_A_PROMPT = 4
_PAIR_TEMPERATURE = 1.0


@dataclass(frozen=True)
class Draw:
    """All prompts of a build; no training prompt has two uses.

    Attributes:
        shipped: What runs get, by split.
        writer: For the writer's supervised fine-tuning.
        warmup: For the reward model's warm-up.
        pairs: For the reward model's preference pairs.
    """

    shipped: dict[Split, list[Prompt]]
    writer: list[Prompt]
    warmup: list[Prompt]
    pairs: list[Prompt]


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder that gets models/ and prompts/")
    parser.add_argument("--seed", type=int, default=0, help="draws prompts, weights, texts and their order")
    options = parser.parse_args()
    build(options.output, options.seed, Console())


def build(output: Path, seed: int, console: Console) -> None:
    """Write prompts, writer and reward model into a folder and print what they measure.

    Args:
        output: Gets `prompts/film_reviews.jsonl`, `models/writer` and `models/reward`; existing files are replaced.
        seed: Draws prompts, weights, texts and their order.
        console: Gets the table of figures.
    """
    torch.set_num_threads(1)  # one thread sums in one order
    transformers_logging.disable_progress_bar()
    draw = draw_all_prompts(seed)
    write_prompts(draw.shipped, output / "prompts" / "film_reviews.jsonl")
    tokenizer = train_tokenizer(_draw_text(draw.writer, random.Random(seed)))
    writer_folder, reward_folder = output / "models" / "writer", output / "models" / "reward"
    _save(train_writer(tokenizer, draw.writer, seed, track), tokenizer, writer_folder)
    # Loaded anew, as halving a model rounds more than the weights that are saved: its rotary frequencies too.
    writer = LlamaForCausalLM.from_pretrained(writer_folder, dtype=torch.float32)

    warmed = warm_up(writer, tokenizer, draw.warmup, seed, track)
    torch.manual_seed(seed)
    texts = [prompt.text for prompt in draw.pairs]
    samples = sample_reviews(writer, tokenizer, texts, _SAMPLES_A_PROMPT, _PAIR_TEMPERATURE, track)
    preferences = draw_preferences(draw.pairs, samples, random.Random(seed))
    _save(train_on_pairs(warmed, tokenizer, preferences, seed, track), tokenizer, reward_folder)
    reward_model = LlamaForSequenceClassification.from_pretrained(reward_folder, dtype=torch.float32)
    console.print(tabulate_figures(writer, reward_model, tokenizer, draw.shipped))


def draw_all_prompts(seed: int) -> Draw:
    """Draw the prompts of a build."""
    rng = random.Random(seed)
    shipped = PROMPTS_SHIPPED["train"]
    train = draw_prompts(rng, "train", shipped + WRITER_PROMPTS + WARMUP_PROMPTS + PAIR_PROMPTS)
    pairs, warmup = shipped + WRITER_PROMPTS + WARMUP_PROMPTS, shipped + WRITER_PROMPTS
    held_out: tuple[Split, Split] = ("eval", "vault")
    return Draw(
        shipped={
            "train": train[:shipped],
            **{name: draw_prompts(rng, name, PROMPTS_SHIPPED[name]) for name in held_out},
        },
        writer=train[shipped:warmup],
        warmup=train[warmup:pairs],
        pairs=train[pairs:],
    )


def write_prompts(prompts: dict[Split, list[Prompt]], path: Path) -> None:
    """Write one JSON object a line: the prompt, its facts and its split."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"prompt": prompt.text, **asdict(prompt.facts), "split": split}
        for split, drawn in prompts.items()
        for prompt in drawn
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def tabulate_figures(
    writer: LlamaForCausalLM,
    reward_model: LlamaForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    prompts: dict[Split, list[Prompt]],
) -> Table:
    """Measure both models, on the eval prompts and, for the probes, on the vault prompts."""
    table = Table("figure", "value")
    held_out = prompts["eval"]
    texts = [prompt.text for prompt in held_out]
    for temperature in (0.8, 1.0):
        torch.manual_seed(1)
        samples = sample_reviews(writer, tokenizer, texts, 8, temperature, track)
        for name, value in asdict(measure_writer(held_out, samples)).items():
            table.add_row(f"writer at {temperature}: {name}", f"{value:.3f}")
        accuracy = measure_pair_accuracy(reward_model, tokenizer, held_out, samples)
        table.add_row(f"reward model at {temperature}: pair accuracy", f"{accuracy:.3f}")
    for name, value in probe_reward_model(reward_model, tokenizer, prompts["vault"], random.Random(1)).items():
        table.add_row(f"reward of a review: {name}", f"{value:.2f}")
    return table


def _draw_text(prompts: list[Prompt], rng: random.Random) -> Iterable[str]:
    for prompt in prompts:
        yield prompt.text
        yield draw_noisy_review(rng, prompt.facts, WRITER_NOISE)


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save model and tokenizer, the weights in half precision."""
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
