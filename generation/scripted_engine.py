"""An engine without a model: it answers from a function, out of order, so that what surrounds engines can be tested."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Self

from generation.engine import Answer, Request, Tag


class ScriptedEngine:
    """Answers requests in groups, the last of each group first."""

    def __init__(self, script: Callable[[Request], Answer], max_model_len: int = 256, in_flight: int = 4) -> None:
        self.max_model_len = max_model_len
        self._script = script
        self._in_flight = in_flight

    def __enter__(self) -> Self:
        """Open at once."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hold nothing."""

    def sample(self, tagged: Iterable[tuple[Tag, Request]]) -> Iterator[tuple[Tag, Answer]]:
        """Answer requests by the script."""
        waiting = iter(tagged)
        while group := list(islice(waiting, self._in_flight)):
            for tag, request in reversed(group):
                yield tag, self._script(request)
