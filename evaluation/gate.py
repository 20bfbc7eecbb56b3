"""Two judges' comparisons of a round's new policy with the last good one in, pass or keep out.

The independent judge decides; the annotator, whose scores made the training pairs, only serves to notice
over-optimisation (Gao et al., arXiv 2210.10760): its score rises while the judge's falls. Power of the standard gate
against a true win rate of 0.55, from simulation: 0.70 with 617 prompts without ties, 0.79 when a fifth are ties.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from evaluation.compare import Comparison
from evaluation.config import GateConfig

WANTED_PROMPTS = 600


@dataclass(frozen=True)
class Decision:
    """What the gate says about a round's new policy."""

    decision: Literal["pass", "keep"]
    """pass: the new policy becomes the last good one. keep: the old one stays."""
    reasons: list[str]
    """Sentences: the conditions that failed, or all of them when none did."""
    figures: dict[str, float]
    """The numbers behind it."""
    goodhart: bool
    """The annotator rates the new policy higher while the independent judge rates it significantly lower."""
    warnings: list[str]
    """What makes the decision less trustworthy without changing it."""


@dataclass(frozen=True)
class _Check:
    met: bool
    sentence: str


def decide(judge: Comparison, annotator: Comparison, config: GateConfig, *, same_judge: bool = False) -> Decision:
    """Decide whether the new policy replaces the old one; pure, so the same comparisons give the same decision.

    Args:
        judge: Comparison by a judge that did not label the pairs.
        annotator: Comparison of the same answers by the judge that did.
        config: Preset and bounds.
        same_judge: Whether judge and annotator are one and the same, whatever their names.
    """
    checks = [*_PRESETS[config.preset](judge, config), _goodhart_check(judge, annotator)]
    failed = [check.sentence for check in checks if not check.met]
    return Decision(
        decision="keep" if failed else "pass",
        reasons=failed or [check.sentence for check in checks],
        figures=_figures(judge, annotator),
        goodhart=not checks[-1].met,
        warnings=_warnings(judge, annotator, config, same_judge=same_judge),
    )


def _demo_checks(judge: Comparison, config: GateConfig) -> list[_Check]:  # noqa: ARG001 - presets share a signature
    delta = judge.score_delta
    met = delta.mean > 0
    direction = "rose" if met else "did not rise"
    return [_Check(met, f"The mean score of {judge.judge} {direction}: {_change(judge)}.")]


def _standard_checks(judge: Comparison, config: GateConfig) -> list[_Check]:
    wins = judge.win_rate.low > 0.5
    fits = config.min_length_ratio <= judge.length_ratio <= config.max_length_ratio
    bounds = f"[{config.min_length_ratio:g}, {config.max_length_ratio:g}]"
    return [
        _Check(
            wins,
            f"The win rate over the last good policy is {judge.win_rate}: its lower end is "
            f"{'above' if wins else 'not above'} 0.5 ({judge.judge}, {judge.n_prompts} prompts).",
        ),
        _Check(
            fits,
            f"New answers are {judge.length_ratio:.2f} times as long as the old ones in {judge.length_unit}, "
            f"{'inside' if fits else 'outside'} {bounds}.",
        ),
    ]


_PRESETS: dict[str, Callable[[Comparison, GateConfig], list[_Check]]] = {
    "demo": _demo_checks,
    "standard": _standard_checks,
}


def _goodhart_check(judge: Comparison, annotator: Comparison) -> _Check:
    flag = annotator.new_mean > annotator.old_mean and judge.score_delta.high < 0
    if flag:
        return _Check(
            False,
            f"The annotator is being gamed: {annotator.judge} rose, {_change(annotator)}, while {judge.judge} fell, "
            f"{_change(judge)}.",
        )
    return _Check(True, f"No sign that the annotator is being gamed ({annotator.judge}: {_change(annotator)}).")


def _change(comparison: Comparison) -> str:
    delta = comparison.score_delta
    return (
        f"{comparison.old_mean:.3f} to {comparison.new_mean:.3f}, "
        f"a difference of {delta.mean:+.3f} [{delta.low:+.3f}, {delta.high:+.3f}]"
    )


def _warnings(judge: Comparison, annotator: Comparison, config: GateConfig, *, same_judge: bool) -> list[str]:
    warnings = []
    if same_judge:
        warnings.append(
            f"{judge.judge} labelled the training pairs and judges the result: the Goodhart flag cannot go up. "
            "Gate with a judge of another family."
        )
    if config.preset == "standard" and judge.n_prompts < WANTED_PROMPTS:
        warnings.append(
            f"{judge.n_prompts} prompts are few: with {WANTED_PROMPTS} a policy that wins 55 % passes 7 times in 10, "
            "with fewer not even that."
        )
    if judge.n_one_sided:
        warnings.append(f"{judge.n_one_sided} prompts were answered by one policy only and left out.")
    for comparison in [judge] if same_judge else [judge, annotator]:
        if comparison.n_unscored_answers:
            warnings.append(
                f"{comparison.judge} left {comparison.n_unscored_answers} answers unscored; "
                f"{comparison.n_unscored} prompts were left out for it."
            )
    if config.preset == "standard" and judge.length_unit == "characters":
        warnings.append("Lengths are in characters: some answers come without a token count.")
    return warnings


def _figures(judge: Comparison, annotator: Comparison) -> dict[str, float]:
    figures = {
        "win_rate": judge.win_rate.mean,
        "win_rate_low": judge.win_rate.low,
        "win_rate_high": judge.win_rate.high,
        "judge_old": judge.old_mean,
        "judge_new": judge.new_mean,
        "judge_delta": judge.score_delta.mean,
        "judge_delta_low": judge.score_delta.low,
        "judge_delta_high": judge.score_delta.high,
        "annotator_old": annotator.old_mean,
        "annotator_new": annotator.new_mean,
        "annotator_delta": annotator.score_delta.mean,
        "length_ratio": judge.length_ratio,
        "n_prompts": float(judge.n_prompts),
    }
    if judge.pass_new is not None and judge.pass_old is not None:
        figures |= {"pass_old": judge.pass_old, "pass_new": judge.pass_new}
    return figures
