"""Numeric answers compared with the reference by math-verify: 1 where they are equal, else 0.

Only a marked or stated answer counts (see judging.checking.marks). An answer without one scores 0, and the aspect
`marked` tells the two kinds of 0 apart. Verdicts without a score have the reason `no_reference` (none, or one without a
number) or `timeout`.
"""

# What math-verify parses into is of many types of sympy's.

import logging
import re
from typing import Any

from judging.checking.marks import find_marked, read_number
from judging.checking.timed import Grade, TimedGrader
from judging.judge import Verdict


class Maths(TimedGrader):
    """Scores marked numeric answers while its process runs."""

    def __init__(self) -> None:
        super().__init__(load_grade)


def load_grade() -> Grade:
    """Load math-verify, which takes seconds the first time."""
    import math_verify

    # Its own time limits are off, for one limit covers both of its steps; its warning of that is beside the point.
    logging.getLogger(math_verify.__name__).setLevel(logging.ERROR)
    return grade_answer


def grade_answer(text: str, reference: str | None) -> Verdict:
    """Compare what an answer marks with its reference; without a time limit."""
    from math_verify import verify

    gold = _parse(_read_reference(reference))
    if not gold:
        return Verdict(None, reason="no_reference")
    marked = find_marked(text)
    if marked is None:
        return Verdict(0.0, aspects={"marked": 0.0})
    equal = verify(gold, _parse(marked), timeout_seconds=None)
    return Verdict(float(equal), aspects={"marked": 1.0})


def _read_reference(reference: str | None) -> str:
    """Give the number of a reference answer, which may hold a whole solution; empty if there is none."""
    if reference is None:
        return ""
    marked = find_marked(reference) or read_number(reference) or reference.strip()
    return marked if re.search(r"\d|\\pi|\\infty", marked) else ""


def _parse(answer: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    if not answer:
        return []
    latex = LatexExtractionConfig(boxed_match_priority=0)
    return parse(f"\\boxed{{{answer}}}", extraction_config=[latex], parsing_timeout=0)
