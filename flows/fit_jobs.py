"""The jobs of `prefloop sft` and `prefloop train-rm` in the child process: tables in, a model and its metrics out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any  # Any: JSON values, tokenizers

import pyarrow as pa

from flows.collecting import collect_as_usual
from flows.store import MAIN_TABLE, Dataset
from generation.engine import PolicyFiles
from training.checkpoints import remove_checkpoints

if TYPE_CHECKING:
    from training.fit_job import FitResult

Emit = Callable[[dict[str, Any]], None]
REWARDS = "rewards"


def sft(job: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Train a policy on answers."""
    import training.sft_trainer  # noqa: F401  what training needs, before it begins
    from generation.identity import hash_token_ids
    from generation.render import render_prompt, tokenizer_identity
    from training.sft import SftJob
    from training.sft import sft as train_policy
    from training.sft_config import SftConfig

    collect_as_usual()
    out = Dataset("policies", job["key"], Path(job["out"]))
    sft_job = SftJob(
        rows=_read(job["rows"]),
        start=PolicyFiles(**job["start"]),
        config=SftConfig(**job["config"]),
        seed=job["seed"],
        output=out.folder,
        render_prompt=render_prompt,
        tokenizer_identity=tokenizer_identity,
        hash_token_ids=hash_token_ids,
    )
    return _store(out, train_policy(sft_job, _progress(emit, ("loss", "mean_token_accuracy"))), _read(job["drops"]))


def train_rm(job: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Train a reward model on pairs."""
    import training.reward_trainer  # noqa: F401  what training needs, before it begins
    from training.reward import RewardJob, train_reward
    from training.reward_config import RewardTrainingConfig

    collect_as_usual()
    out = Dataset("policies", job["key"], Path(job["out"]))
    reward_job = RewardJob(
        pairs=_read(job["rows"]),
        start=PolicyFiles(**job["start"]),
        config=RewardTrainingConfig(**job["config"]),
        seed=job["seed"],
        output=out.folder,
        render_answers=render_answers,
    )
    return _store(out, train_reward(reward_job, _progress(emit, ("loss", "accuracy"))), _read(job["drops"]))


def render_answers(tokenizer: Any, answered: Sequence[tuple[list[dict[str, str]], str]]) -> list[list[int] | str]:
    """Give conversations with their answers the token ids that the judge `reward_model` scores.

    Args:
        tokenizer: The reward model's.
        answered: Each conversation up to the answer, and the answer.

    Returns:
        In the same order, token ids or the judge's reason for having none.
    """
    from judging.judge import Item
    from judging.reward.reward_rows import tokenize_items

    items = [(at, Item("", "", messages, text, None, {})) for at, (messages, text) in enumerate(answered)]
    found = dict(tokenize_items(tokenizer, items))
    return [found[at] for at in range(len(answered))]


def _progress(emit: Emit, shown: tuple[str, ...]) -> Callable[[int, int, dict[str, float]], None]:
    held_out = ""

    def on_step(done: int, total: int, metrics: dict[str, float]) -> None:
        nonlocal held_out
        found = {name: value for name, value in metrics.items() if name.startswith("heldout/")}
        held_out = "".join(f" {name} {value:.3f}" for name, value in found.items()) or held_out
        note = " ".join(f"{name} {metrics[name]:.3f}" for name in shown if name in metrics)
        emit({"done": done, "total": total, "note": note + held_out})

    return on_step


def _store(out: Dataset, result: "FitResult", import_drops: pa.Table) -> dict[str, Any]:
    """Write metrics, the whole ledger and rewards beside the weights, and give the figures."""
    tables = {MAIN_TABLE: result.metrics, "drops": pa.concat_tables([import_drops, result.drops])}
    if result.rewards is not None:
        tables[REWARDS] = result.rewards
    out.write_shard(0, tables)
    remove_checkpoints(out.folder)
    counts = result.counts | {
        "rows_in": result.counts["rows_in"] + import_drops.num_rows,
        "rows_dropped": result.counts["rows_dropped"] + import_drops.num_rows,
    }
    return counts | {"held_out": result.held_out, "tokens": result.tokens, "seconds": round(result.seconds, 1)}


def _read(folder: str) -> pa.Table:
    table = Dataset("input", "", Path(folder)).read()
    if table is None:
        raise ValueError(f"{folder}: no rows are stored here")
    return table
