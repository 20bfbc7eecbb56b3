"""What a recipe says about making pairs from scores."""

from typing import Any, Literal, Self, get_args  # parsed fields

from pydantic import BaseModel, Field, model_validator

RuleName = Literal[
    "best_worst", "mu_minus_2sigma", "best_random", "best_second", "correct_incorrect", "top_p", "all_pairs"
]
RULE_NAMES: tuple[RuleName, ...] = get_args(RuleName)
# Fields that only some rules read; elsewhere they would be set in vain.
_ONLY_FOR: dict[str, tuple[RuleName, ...]] = {
    "pass_score": ("correct_incorrect",),
    "top_share": ("top_p",),
    "max_pairs": ("correct_incorrect", "top_p", "all_pairs"),
}


class PairingConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False):
    """How scored candidates become pairs: a rule picks, the other fields say what it may pick from."""

    rule: RuleName = "best_worst"
    """best_worst: the highest against the lowest score of a prompt (Iterative DPO), up to about 16 candidates.
    mu_minus_2sigma: the highest against the one nearest to the mean less two standard deviations, from 28 candidates
    on. best_random, best_second: the highest against any lower one, or against the next. correct_incorrect: answers
    that passed against answers that did not. top_p: one of the top share against one of the bottom share. all_pairs:
    every answer against every lower one, with weights."""
    min_margin: float = Field(default=0.0, ge=0)
    """Pairs need a margin above this; 0 drops only ties. Unit: `margin_unit`."""
    max_margin: float | None = Field(default=None, gt=0)
    """Pairs need a margin of at most this: a rejected answer that is broken teaches little. Unit: `margin_unit`."""
    margin_unit: Literal["score", "probability"] = "score"
    """score: the difference of the scores. probability: how likely the chosen answer is the better one,
    sigmoid(slope * difference)."""
    slope: float = Field(default=1.0, gt=0)
    """Logits per unit of score, for probabilities, weights and soft labels: 1 for a reward model of Bradley-Terry's
    kind, else as fitted on labelled pairs. Higher trusts small differences more."""
    soft_labels: bool = False
    """Fill `soft_label`, `chosen_p_win` and `rejected_p_win` of the pairs with probabilities, for losses that ask for
    them; they are worth what `slope` is, so fit it before (`prefloop audit-judge` does)."""
    tie_rule: Literal["length", "random"] = "length"
    """Among equal scores length chooses the shortest answer and rejects the one closest to it in length (WPO); random
    draws."""
    length_control: Literal["none", "fitted"] = "none"
    """fitted takes a price for each character off the scores before it pairs, the one at which a round's chosen and
    rejected answers have one mean length (DICE); pairs whose chosen answer then has no higher score are dropped."""
    length_band: float | None = Field(default=None, ge=0)
    """Most difference in characters between the two sides, as a part of the chosen one's; null = any."""
    chosen_must_finish: bool = True
    """Answers cut off by the token limit are not chosen; an unknown finish reason passes."""
    min_chosen_score: float | None = None
    """Chosen answers need at least this score, so that the best of a bad lot teaches nothing; null = any."""
    require_on_policy: bool = False
    """At least one side of a pair was written by the policy that is trained."""
    max_pairs: int | None = Field(default=None, ge=1)
    """Most pairs of a prompt, drawn at random; null = 10 for correct_incorrect, 1 for top_p, all for all_pairs."""
    pass_score: float = 0.5
    """correct_incorrect: answers that score at least this are correct. Unit: the judge's score."""
    top_share: float = Field(default=0.25, gt=0, le=0.5)
    """top_p: share of a prompt's answers, at the top and at the bottom, that a pair is drawn from; at least one."""
    seed: int = Field(default=0, ge=0)
    """Another seed draws other pairs where the rule draws; ids decide, never the order of rows."""

    @model_validator(mode="after")
    def _margins_leave_room(self) -> Self:
        if self.max_margin is not None and self.max_margin <= self.min_margin:
            raise ValueError(f"max_margin {self.max_margin} is not above min_margin {self.min_margin}: nothing fits")
        if self.margin_unit == "probability" and self.min_margin >= 1:
            raise ValueError(f"min_margin {self.min_margin} is no probability below 1; 0.6 is usual")
        if self.margin_unit == "probability" and self.max_margin is not None and not 0.5 < self.max_margin <= 1:
            raise ValueError(f"max_margin {self.max_margin} is no probability above 0.5, which is a tie")
        return self

    @model_validator(mode="after")
    def _rule_reads_its_fields(self) -> Self:
        for name, rules in _ONLY_FOR.items():
            if self.rule not in rules and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is for rule {' and '.join(rules)}, not for {self.rule}: leave it out")
        if self.rule == "correct_incorrect" and self.length_control == "fitted":
            raise ValueError(
                "length_control fitted shifts scores, and correct_incorrect only asks whether they pass: use "
                "length_band, or another rule"
            )
        return self


def fields_for(rule: RuleName, fields: dict[str, Any]) -> dict[str, Any]:
    """Give the fields of a config for another rule, without those that it does not read."""
    kept = {name: value for name, value in fields.items() if rule in _ONLY_FOR.get(name, RULE_NAMES)}
    if rule == "correct_incorrect":
        kept.pop("length_control", None)
    return kept | {"rule": rule}
