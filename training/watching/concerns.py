"""What people should know of a training that ended well by its own numbers: a code and a sentence each.

None of it stops a training. The thresholds are where the literature or plain arithmetic says that a curve no longer
means what it seems to mean.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from training.rows.examples import Example

Code = Literal[
    "chosen_likelihood_falls",
    "accurate_before_training",
    "length_gap",
    "one_prompt",
    "few_steps",
    "held_out_not_rising",
    "few_held_out",
    "pairs_dropped",
]

# Falling with the margin is likelihood displacement (arXiv 2410.08847), which DPO shows to some degree in most runs
# (arXiv 2402.13228). Over an answer of 200 tokens 0.1 nats a token are a factor of 5e8.
MOST_FALL_NATS_PER_TOKEN = 0.1
# By chance 31 of 32 pairs are right once in 130 million times.
HIGHEST_START_ACCURACY = 0.95
LEAST_PAIRS_FOR_ACCURACY = 16  # all of them are right by chance once in 65,536 times
# DPO exploits a difference in length and overshoots it (arXiv 2403.19159); a fifth is more than rounding, or a stop
# token in short answers, can make.
MOST_LENGTH_GAP = 0.2
# Half the pairs on one prompt: the policy learns that prompt, and accuracies are those of it.
MOST_PAIRS_OF_A_PROMPT = 0.5
LEAST_PAIRS_FOR_PROMPTS = 8  # of fewer, half is two or three
# Warm-up and the optimiser's running means (AdamW: 10 steps of memory for the gradient) take as many.
LEAST_STEPS = 10
# The 95 % interval of an accuracy over 30 pairs is 36 points wide: no curve shows through it.
LEAST_HELD_OUT = 30
MOST_DROPPED = 0.2  # more lost than most filters take: what is left is another data set


@dataclass(frozen=True)
class Concern:
    """One thing that people should know: a code, and a sentence with its numbers."""

    code: Code
    text: str


@dataclass(frozen=True)
class Course:
    """How a training went.

    Attributes:
        trained: The pairs that were trained on.
        held_out: Those that were held out.
        n_dropped: Pairs that could not be trained on.
        steps: Optimiser steps.
        n_first: Pairs in the first batch.
        before: Its metrics before training (`training.watching.metrics`).
        after: Metrics of the same pairs under the trained policy.
        held_out_accuracies: Held-out accuracy at each evaluation, the start's first.
    """

    trained: Sequence[Example]
    held_out: Sequence[Example]
    n_dropped: int
    steps: int
    n_first: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    held_out_accuracies: Sequence[float]


def find_concerns(course: Course) -> list[Concern]:
    """List what people should know, nothing where all is well."""
    found = (check(course) for check in _CHECKS)
    return [concern for concern in found if concern is not None]


def _chosen_likelihood(course: Course) -> Concern | None:
    name = "token_logps/chosen"
    fall = course.before[name] - course.after[name]
    margins = [metrics["rewards/margins"] for metrics in (course.before, course.after)]
    if fall <= MOST_FALL_NATS_PER_TOKEN or margins[1] <= margins[0]:
        return None
    return Concern(
        "chosen_likelihood_falls",
        f"the chosen answers of the first batch lost {fall:.2f} nats a token while their margin rose from "
        f"{margins[0]:.3g} to {margins[1]:.3g}: the policy moves away from both answers. Lower training.learning_rate "
        "or raise beta; a loss with a likelihood term (rpo, dpop) holds the chosen ones up",
    )


def _start_accuracy(course: Course) -> Concern | None:
    accuracy, n = course.before["rewards/accuracies"], course.n_first
    if accuracy < HIGHEST_START_ACCURACY or n < LEAST_PAIRS_FOR_ACCURACY:
        return None
    return Concern(
        "accurate_before_training",
        f"before the first step the policy prefers the chosen answer in {accuracy:.0%} of the first {n} pairs: it "
        "has been trained on them, or chosen and rejected answers come from different writers. There is little to "
        "learn but their style",
    )


def _length_gap(course: Course) -> Concern | None:
    lengths = [
        sum(len(getattr(example, side).token_ids) for example in course.trained) / len(course.trained)
        for side in ("chosen", "rejected")
    ]
    gap = lengths[0] / lengths[1] - 1
    if abs(gap) <= MOST_LENGTH_GAP:
        return None
    word, learnt = ("longer", "write more") if gap > 0 else ("shorter", "write less")
    return Concern(
        "length_gap",
        f"chosen answers are {word} than rejected ones: {lengths[0]:.0f} against {lengths[1]:.0f} tokens in the mean "
        f"({gap:+.0%}). The policy can lower the loss by learning to {learnt}: take length out of the scores "
        "(judging.pairing), or use a loss that does (simpo, ld_dpo, r_dpo)",
    )


def _one_prompt(course: Course) -> Concern | None:
    prompt, n = Counter(example.prompt for example in course.trained).most_common(1)[0]
    share = n / len(course.trained)
    if share <= MOST_PAIRS_OF_A_PROMPT or len(course.trained) < LEAST_PAIRS_FOR_PROMPTS:
        return None
    return Concern(
        "one_prompt",
        f"{n} of {len(course.trained)} pairs ({share:.0%}) are of one prompt, {prompt}: the policy learns that one. "
        "Take fewer pairs of each prompt, or more prompts",
    )


def _few_steps(course: Course) -> Concern | None:
    if course.steps >= LEAST_STEPS:
        return None
    return Concern(
        "few_steps",
        f"the training had {course.steps} optimiser steps, below {LEAST_STEPS} the warm-up and the optimiser's memory "
        "decide as much as the pairs: lower training.batch_size, raise training.epochs, or give more pairs",
    )


def _held_out_not_rising(course: Course) -> Concern | None:
    accuracies = course.held_out_accuracies
    if len(accuracies) < 2 or max(accuracies[1:]) > accuracies[0]:
        return None
    return Concern(
        "held_out_not_rising",
        f"held-out preference accuracy began at {accuracies[0]:.3f} and was never above it (at best "
        f"{max(accuracies[1:]):.3f}): what was learnt does not carry over to other prompts. More pairs, another "
        "training.learning_rate, or labels that agree with each other better",
    )


def _few_held_out(course: Course) -> Concern | None:
    if not course.held_out_accuracies or len(course.held_out) >= LEAST_HELD_OUT:
        return None
    half = 1.96 * 0.5 / len(course.held_out) ** 0.5
    return Concern(
        "few_held_out",
        f"{len(course.held_out)} pairs are held out: an accuracy over so few is uncertain by {half:.2f} to either "
        "side. Raise training.holdout.share, or give more pairs",
    )


def _pairs_dropped(course: Course) -> Concern | None:
    n_in = course.n_dropped + len(course.trained) + len(course.held_out)
    if course.n_dropped <= MOST_DROPPED * n_in:
        return None
    return Concern(
        "pairs_dropped",
        f"{course.n_dropped} of {n_in} pairs ({course.n_dropped / n_in:.0%}) could not be trained on; the drop ledger "
        "says why",
    )


_CHECKS = (
    _chosen_likelihood,
    _start_accuracy,
    _length_gap,
    _one_prompt,
    _few_steps,
    _held_out_not_rising,
    _few_held_out,
    _pairs_dropped,
)
