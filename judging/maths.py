r"""Numeric answers compared with the reference by math-verify: 1 where they are equal, else 0.

Only a marked or stated answer counts (see judging.marks). An answer without one scores 0, and the aspect `marked` tells
the two kinds of 0 apart.

math-verify runs in a process of its own. A short answer such as `\boxed{9^{9^{9}}}` keeps it busy for minutes, and
its time limit needs signals, which reach main threads only.
"""

# What math-verify parses into is of many types of sympy's.

import logging
import re
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from types import FrameType, TracebackType
from typing import Any, Self

from judging.judge import Item, Tag, Verdict
from judging.marks import find_marked, read_number

_BATCH = 16  # rows a trip to the other process
_LIMIT_S = 5.0  # for one row; one of a usual kind takes milliseconds


class Maths:
    """Scores marked numeric answers while its process runs."""

    def __enter__(self) -> Self:
        """Make the process; it starts with the first rows."""
        self._pool = ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._pool.shutdown(cancel_futures=True)

    def score(self, tagged: Iterable[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Verdict]]:
        """Yield 1 or 0 for each item, in order.

        Verdicts without a score have the reason `no_reference` (none, or one without a number) or `timeout`.
        """
        source = iter(tagged)
        while batch := list(islice(source, _BATCH)):
            rows = [(item.text, item.reference_answer) for _, item in batch]
            verdicts = self._pool.submit(grade_answers, rows).result()
            yield from zip((tag for tag, _ in batch), verdicts, strict=True)


def grade_answers(rows: Sequence[tuple[str, str | None]]) -> list[Verdict]:
    """Grade answers against their references; in a main thread only.

    Args:
        rows: Texts with their reference answers.
    """
    import math_verify  # takes seconds the first time, so it comes before the clock starts

    # The limit here covers both of math-verify's steps, so its own are off and its warning of that is beside the point.
    logging.getLogger(math_verify.__name__).setLevel(logging.ERROR)
    before = signal.signal(signal.SIGALRM, _stop)
    try:
        return [_grade_in_time(text, reference) for text, reference in rows]
    finally:
        signal.signal(signal.SIGALRM, before)


class _TimeLimitError(BaseException):
    """Passes through math-verify, which takes every Exception for a wrong answer."""


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise _TimeLimitError


def _grade_in_time(text: str, reference: str | None) -> Verdict:
    signal.setitimer(signal.ITIMER_REAL, _LIMIT_S)
    try:
        return _grade(text, reference)
    except _TimeLimitError:
        return Verdict(None, reason="timeout")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _grade(text: str, reference: str | None) -> Verdict:
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
