"""Where filtering does its work on several machines: tasks on Ray, an extra of this package.

Facts and pairs are read and written by path, so all machines have to see one file system at the same paths.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any  # Ray gives no types that pyright follows

from filtering.filter import Item, Mapper, Result

_TASKS_A_CORE = 2


@dataclass(frozen=True)
class _RayTasks:
    ray: Any
    max_ahead: int

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Give each item's result, in order; at most `max_ahead` items are ahead of what was taken."""
        remote = self.ray.remote(num_cpus=1)(_run)
        shared = self.ray.put(task)  # may hold much that all items share: sent to each machine once
        ahead = deque[Any]()
        try:
            for item in items:
                ahead.append(remote.remote(shared, item))
                if len(ahead) >= self.max_ahead:
                    yield self.ray.get(ahead.popleft())
            while ahead:
                yield self.ray.get(ahead.popleft())
        finally:
            for reference in ahead:
                self.ray.cancel(reference)


@contextmanager
def ray_mapper(address: str | None = None, count: int | None = None) -> Iterator[Mapper]:
    """Connect to Ray, or start it on this machine, and leave it in the end.

    Args:
        address: A running cluster's, `auto` for the one of this machine; None starts one here, which ends with it.
        count: Cores of the one that is started; None = all.

    Raises:
        ModuleNotFoundError: If Ray is not installed.
    """
    ray = _import_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports to its makers, unasked
    started = {"num_cpus": count, "include_dashboard": False} if address is None else {}
    ray.init(address=address or "local", log_to_driver=False, **started)
    try:
        yield _RayTasks(ray, _TASKS_A_CORE * max(1, int(ray.cluster_resources().get("CPU", 1))))
    finally:
        ray.shutdown()


def _run(task: Callable[[Item], Result], item: Item) -> Result:
    return task(item)


def _import_ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('filtering on Ray needs Ray: pip install "prefloop[ray]"', name="ray") from error
    return ray
