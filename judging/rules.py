"""Rules as a judge: the score of an answer is the weighted share of the rules it meets, in [0, 1].

`aspects` holds 1 or 0 for each rule by its name. Verdicts without a score have the reason `no_reference` (a rule needs
a reference answer and the prompt has none) or `timeout`. Checks of this kind are IFEval's (arXiv:2311.07911), of which
those that need a language detector or a tagger are left out.
"""

from functools import partial

from judging.checking.answer_rules import compile_rule
from judging.checking.timed import Grade, TimedGrader
from judging.judge import Verdict
from judging.verifier_config import RulesConfig


class Rules(TimedGrader):
    """Scores by rules while its process runs."""

    def __init__(self, config: RulesConfig) -> None:
        super().__init__(partial(compile_rules, config))


def compile_rules(config: RulesConfig) -> Grade:
    """Build what grades one answer by all rules; without a time limit."""
    checks = [compile_rule(rule) for rule in config.rules]
    weights = [1.0 if config.all_or_nothing else rule.weight for rule in config.rules]

    def grade(text: str, reference: str | None) -> Verdict:
        met = [check(text, reference) for check in checks]
        if None in met:
            return Verdict(None, reason="no_reference")
        aspects = {name: float(bool(one)) for name, one in zip(config.names, met, strict=True)}
        share = sum(weight for weight, one in zip(weights, met, strict=True) if one) / sum(weights)
        return Verdict(float(all(met)) if config.all_or_nothing else share, aspects=aspects)

    return grade
