"""Where filtering does its work on one machine: in this process, or in one for each core."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from filtering.filter import Item, Mapper, Result


class _InProcess:
    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        return map(task, items)


IN_PROCESS: Mapper = _InProcess()


@dataclass(frozen=True)
class Processes:
    """Processes of this machine, started afresh for each `map`.

    Attributes:
        count: How many.
    """

    count: int

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Give each item's result, in order; at most two items a process are ahead of what was taken."""
        # A forked child of a process with threads may find their locks held for ever.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.count, mp_context=context) as pool:
            ahead = deque[Future[Result]]()
            try:
                for item in items:
                    ahead.append(pool.submit(task, item))
                    if len(ahead) >= 2 * self.count:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            except BrokenProcessPool as error:
                raise OSError(
                    "a process that measured pairs was ended from outside (the machine may have run out of memory): "
                    "what is measured is kept, and the same command goes on from there"
                ) from error
            finally:
                for future in ahead:
                    future.cancel()
