"""From examples and reference log-probs to what the trainer reads: a dataset, and batches of it as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any  # rows of a dataset

import numpy as np
import torch
from datasets import Dataset, Features, List, Value
from trl.trainer.dpo_trainer import DataCollatorForPreference

from training.prefix.plan import plan_batch
from training.rows.examples import Example
from training.rows.pair_values import PairValues

_IDS = ("prompt_ids", "chosen_ids", "rejected_ids")


@dataclass(frozen=True)
class ReferenceValues:
    """What the loss needs of the reference.

    Attributes:
        total: Log-prob sums of the answers; zeros for a loss without reference.
        shared: Sums over the first min(|w|, |l|) tokens; None unless the loss asks for them.
        mismatched: Log-prob sums of `Example.mismatched`, shape `(pairs,)`; None unless the loss asks for them.
        policy: Key of the reference; None for a loss without one.
    """

    total: PairValues
    shared: PairValues | None = None
    mismatched: np.ndarray | None = None
    policy: str | None = None


def pair_dataset(examples: Sequence[Example], reference: ReferenceValues, columns: Sequence[str]) -> Dataset:
    """Put token ids, reference log-probs, weights and the columns that the loss asks for into one dataset.

    Args:
        examples: The pairs, all with the columns.
        reference: In the same order.
        columns: Names of `Example.columns`.
    """
    numbers: dict[str, Any] = {
        "ref_chosen_logps": reference.total.chosen,
        "ref_rejected_logps": reference.total.rejected,
        "weight": [example.weight for example in examples],
        **{f"column_{name}": [example.columns[name] for example in examples] for name in columns},
    }
    if reference.shared is not None:
        numbers |= {"ref_chosen_shared": reference.shared.chosen, "ref_rejected_shared": reference.shared.rejected}
    if reference.policy is not None:
        for name in ("chosen", "rejected"):
            authors = [getattr(example, name).policy for example in examples]
            numbers[f"{name}_by_reference"] = [float(author == reference.policy) for author in authors]
    ids = {
        "prompt_ids": [example.prompt_ids for example in examples],
        "chosen_ids": [example.chosen.token_ids for example in examples],
        "rejected_ids": [example.rejected.token_ids for example in examples],
    }
    if reference.mismatched is not None:
        numbers["ref_mismatched"] = reference.mismatched
        ids["mismatched_ids"] = [example.mismatched for example in examples]
    features = Features(
        pair_id=Value("string"),
        row=Value("int64"),
        **dict.fromkeys(ids, List(Value("int32"))),
        **dict.fromkeys(numbers, Value("float64")),
    )
    names = {"pair_id": [example.pair_id for example in examples], "row": np.arange(len(examples))}
    return Dataset.from_dict(names | ids | numbers, features=features)


class PairCollator(DataCollatorForPreference):
    """TRL's collator for the ids, and under `extras` everything else of the rows as tensors, in float64.

    Attributes:
        share_prompts: Whether batches carry a plan that computes each prompt once; the model must know what to do.
    """

    share_prompts: bool = False

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate rows of a `pair_dataset`."""
        batch = super().torch_call([{name: example[name] for name in _IDS} for example in examples])
        first = examples[0]
        extras: dict[str, torch.Tensor] = {
            name: torch.tensor([example[name] for example in examples], dtype=torch.float64)
            for name, value in first.items()
            if isinstance(value, float)
        }
        extras["row"] = torch.tensor([example["row"] for example in examples])
        # TRL reads these two; its own collator would round them to float32.
        batch["ref_chosen_logps"], batch["ref_rejected_logps"] = (
            extras["ref_chosen_logps"],
            extras["ref_rejected_logps"],
        )
        if "mismatched_ids" in first:
            rows = [
                {"prompt_ids": e["prompt_ids"], "chosen_ids": e["mismatched_ids"], "rejected_ids": e["mismatched_ids"]}
                for e in examples
            ]
            both = super().torch_call(rows)
            extras |= {
                f"mismatched_{name}": both[name][: len(rows)]
                for name in ("input_ids", "attention_mask", "completion_mask")
            }
        if self.share_prompts:
            answers = [example[side] for side in ("chosen_ids", "rejected_ids") for example in examples]
            batch["prefix_plan"] = plan_batch([example["prompt_ids"] for example in examples] * 2, answers)
        return batch | {"extras": extras}
