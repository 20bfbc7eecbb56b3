r"""Answers graded in a process of their own, each within a time limit.

A short answer can keep a grader busy for minutes: `\boxed{9^{9^{9}}}`, or a text on which a pattern backtracks. The
limit needs signals, which reach main threads only, and a judge may run in any thread.
"""

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from types import FrameType, TracebackType
from typing import Self

from judging.judge import Item, Tag, Verdict

Grade = Callable[[str, str | None], Verdict]
"""Gives the verdict on an answer, given its reference answer."""

LIMIT_S = 5.0  # for one answer; one of a usual kind takes milliseconds
_BATCH = 16  # answers a trip to the other process


class TimedGrader:
    """Grades while its process runs.

    Args:
        make: Builds what grades; it is called in the process and has to be picklable.
    """

    def __init__(self, make: Callable[[], Grade]) -> None:
        self._make = make

    def __enter__(self) -> Self:
        """Make the process; it starts with the first answers."""
        self._pool = ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._pool.shutdown(cancel_futures=True)

    def score(self, tagged: Iterable[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Verdict]]:
        """Yield the verdict on each item, in order; one that took too long has the reason `timeout`."""
        source = iter(tagged)
        while batch := list(islice(source, _BATCH)):
            rows = [(item.text, item.reference_answer) for _, item in batch]
            verdicts = self._pool.submit(grade_in_time, self._make, rows, LIMIT_S).result()
            yield from zip((tag for tag, _ in batch), verdicts, strict=True)


def grade_in_time(
    make: Callable[[], Grade], rows: Sequence[tuple[str, str | None]], limit_s: float = LIMIT_S
) -> list[Verdict]:
    """Grade answers, each within a limit; in a main thread only.

    Args:
        make: Builds what grades, before the clock starts.
        rows: Texts with their reference answers.
        limit_s: Seconds for one answer.
    """
    grade = make()
    before = signal.signal(signal.SIGALRM, _stop)
    try:
        return [_grade_one(grade, text, reference, limit_s) for text, reference in rows]
    finally:
        signal.signal(signal.SIGALRM, before)


class _TimeLimitError(BaseException):
    """Passes through libraries that take every Exception for a wrong answer."""


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise _TimeLimitError


def _grade_one(grade: Grade, text: str, reference: str | None, limit_s: float) -> Verdict:
    try:
        try:
            # Again each second: Python drops an error that is raised while it collects garbage.
            signal.setitimer(signal.ITIMER_REAL, limit_s, 1.0)
            return grade(text, reference)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _TimeLimitError:
        return Verdict(None, reason="timeout")
