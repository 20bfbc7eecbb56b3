"""The check before the first optimiser step: is the loss about to be trained on the loss that was meant?

A wrong template, other weights than the generator's, garbage in a reference column: each trains for hours without a
warning. Before the first step the loss of the first batch is known from log-probs computed apart from the trainer,
and where the policy is its own reference, DPO's loss is ln 2 whatever the pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from training.logprobs import Compute
from training.rows.examples import SIDES, Example
from training.rows.pair_values import PairValues

# |trainer - formula| of the mean loss, in units of max(1, loss).
_LOSS_TOLERANCE: dict[Compute, float] = {"float32": 1e-4, "bfloat16": 5e-2}
# In bfloat16 dpop's loss begins 0.1 above ln 2 or at it, by the rounding of answers of 200 tokens, which is as much in
# the trainer as in what is computed apart, but not the same.
_JUMPS = 4.0
# |recomputed - stored| of one answer's sum may be floor + tokens * slope nats. Measured between vLLM and transformers:
# float32 2.6e-6 a token, bfloat16 against float32 7.5e-2 a token and 0.13 for a sum over 40; a wrong template or wrong
# weights are off by several tenths a token.
_STORED_FLOOR: dict[Compute, float] = {"float32": 1e-3, "bfloat16": 0.5}
_STORED_SLOPE: dict[Compute, float] = {"float32": 1e-3, "bfloat16": 2e-2}


@dataclass(frozen=True)
class Step0Report:
    """What the check before the first step found.

    Attributes:
        expected_loss: Mean loss of the first batch from the formula and log-probs computed apart from the trainer.
        observed_loss: The same as the trainer computes it.
        margin: Mean implicit reward margin of the first batch before training.
        pairs: Pairs in the first batch.
        stored_answers: Answers whose generator's log-probs were recomputed; 0 where no pair holds any.
        stored_max_difference: Largest difference among them in nats a token; None where there are none.
        metrics: All metrics of the first batch (`training.watching.metrics`) before training, by the trainer.
    """

    expected_loss: float
    observed_loss: float
    margin: float
    pairs: int
    stored_answers: int
    stored_max_difference: float | None
    metrics: dict[str, float]


@dataclass(frozen=True)
class StoredDifference:
    """How far recomputed log-probs are from the generator's: answers compared, largest difference in nats a token."""

    answers: int
    largest: float | None


def check_loss(expected: float, observed: float, identity: float | None, compute: Compute, jump: float = 0.0) -> None:
    """Hold the trainer's first loss against the formula's, and against the loss's identity.

    Args:
        expected: Mean loss from the formula.
        observed: Mean loss from the trainer.
        identity: The loss at policy = reference, ln 2 for DPO; None where the start is not the reference, or where the
            loss then depends on the pairs.
        compute: Number format of both.
        jump: How far the rounding of log-probs moves the loss, where its slope jumps at policy = reference.

    Raises:
        ValueError: They differ.
    """
    tolerance = _LOSS_TOLERANCE[compute] * max(1.0, abs(expected)) + _JUMPS * jump
    if not abs(observed - expected) <= tolerance:
        raise ValueError(
            f"before the first step the trainer's loss is {observed:.6f}, but the formula gives {expected:.6f} "
            f"(tolerance {tolerance:.1e}): the trainer sees other tokens, another mask or other reference log-probs "
            "than it was given; check the versions of trl and transformers against the lock file"
        )
    if identity is not None and not abs(observed - identity) <= tolerance:
        raise ValueError(
            f"before the first step the loss is {observed:.6f}, but the policy is its own reference, where this loss "
            f"is {identity:.6f} whatever the pairs: the two have different weights"
        )


def agree(one: float, other: float, n_tokens: int, compute: Compute) -> bool:
    """Say whether two log-prob sums of one answer differ by no more than rounding can; a NaN never agrees."""
    return abs(one - other) <= _STORED_FLOOR[compute] + _STORED_SLOPE[compute] * n_tokens


def coarser(one: Compute, other: Compute) -> Compute:
    """Give the coarser of two number formats."""
    return "float32" if one == other == "float32" else "bfloat16"


def check_own_reference(
    examples: Sequence[Example], reference: PairValues, found: PairValues, compute: Compute
) -> None:
    """Hold the log-probs of a reference against those of the policy, where the policy is its own reference.

    Args:
        examples: Pairs.
        reference: Their log-probs, as the loss gets them.
        found: The same under the policy, computed anew.
        compute: The coarser of the number formats that they were computed in.

    Raises:
        ValueError: One of them differs by more than rounding can.
    """
    for row, example in enumerate(examples):
        for side in SIDES:
            given, value = float(getattr(reference, side)[row]), float(getattr(found, side)[row])
            tokens = len(getattr(example, side).token_ids)
            if not agree(given, value, tokens, compute):
                raise ValueError(
                    f"pair {example.pair_id}: the reference's log-prob of its {side} answer is {given:.4f}, but the "
                    f"policy, which is its own reference, gives {value:.4f}: remove what is stored of the reference's "
                    "log-probs and run again"
                )


def check_stored(examples: Sequence[Example], found: PairValues, policy: str, compute: Compute) -> StoredDifference:
    """Hold recomputed log-probs against those that the generator stored, where `policy` is the generator.

    Args:
        examples: Pairs; answers by other policies, or without stored log-probs, are passed over.
        found: Their log-probs under `policy`, recomputed here.
        policy: Key of the policy.
        compute: The coarser of the two number formats that the generator and this process computed in.

    Raises:
        ValueError: One of them differs by more than rounding can.
    """
    answers, largest = 0, None
    for row, example in enumerate(examples):
        for side, answer, value in zip(
            SIDES, (example.chosen, example.rejected), (found.chosen[row], found.rejected[row]), strict=True
        ):
            if answer.stored_logprob is None or answer.policy != policy:
                continue
            difference, tokens = abs(value - answer.stored_logprob), len(answer.token_ids)
            if not agree(float(value), answer.stored_logprob, tokens, compute):
                raise ValueError(_stored_message(example.pair_id, side, answer.stored_logprob, float(value), tokens))
            answers, largest = answers + 1, max(largest or 0.0, float(difference) / tokens)
    return StoredDifference(answers, largest)


def _stored_message(pair_id: str, side: str, stored: float, found: float, tokens: int) -> str:
    return (
        f"pair {pair_id}: its {side} answer of {tokens} tokens has log-prob {found:.4f} under the policy that wrote "
        f"it, but its generator stored {stored:.4f}: look for other weights under the same key, another chat template "
        "or system prompt, a generator that reports log-probs after temperature or masks, or a coarser number format"
    )
