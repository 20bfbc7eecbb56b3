"""Merge a LoRA adapter into its base: one policy of whole weights, for programs that take no adapters."""

from pathlib import Path
from typing import Any  # models of untyped libraries

from training.policies.adapter import peft_warnings_off
from training.policies.policy import Policy, load_policy, load_tokenizer, write_policy


def merge_adapter(policy: Policy, output: Path) -> None:
    """Write a policy with an adapter as whole weights with the base's tokenizer and configs.

    They are float32, as the adapter is: rounded to bfloat16, W + BA would lose what a small learning rate has added.

    Args:
        policy: The base and its adapter.
        output: Folder to write.

    Raises:
        ValueError: There is no adapter, or it is of another base.
        OSError: There is no room.
    """
    if policy.adapter is None:
        raise ValueError(f"{policy.model} has no adapter to merge: its weights are whole already")
    adapted: Any = load_policy(policy.model, policy.adapter, "float32", policy.revision, policy.trust_remote_code)
    with peft_warnings_off():
        merged = adapted.merge_and_unload(safe_merge=True)
    write_policy(merged, load_tokenizer(policy), output)
