"""A user's Python function as a judge, with the signature that TRL expects of a reward function.

`f(prompts=..., completions=..., **columns)` takes lists, one entry a row, in TRL's conversational form: a prompt is a
list of messages, a completion a list of one assistant message. Each column of the prompt's source and
`reference_answer` come as a list too. It returns one float or None a row. TRL's `completion_ids` are not passed.
"""

import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Self, SupportsFloat

from judging.config import VerifierConfig
from judging.judge import Item, Tag, Verdict

_BATCH = 256  # rows a call; a function that keeps a model or a pool busy wants more than a few

Function = Callable[..., Any]  # what a user's function returns is checked, not believed


class Verifier:
    """Scores by a Python function.

    Raises:
        ValueError: On opening, if `function` does not name a function that can be imported.
    """

    def __init__(self, config: VerifierConfig) -> None:
        self._path = config.function

    def __enter__(self) -> Self:
        """Import the function."""
        self._function = load_function(self._path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing; a function holds nothing."""

    def score(self, tagged: Iterable[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Verdict]]:
        """Call the function on batches of rows and yield what it returns.

        None becomes the reason `no_verdict`, NaN and infinity become `not_finite`.

        Raises:
            RuntimeError: If the function raises, or does not return one float or None a row.
        """
        source = iter(tagged)
        while batch := list(islice(source, _BATCH)):
            items = [item for _, item in batch]
            results = self._call(items)
            for (tag, item), result in zip(batch, results, strict=True):
                yield tag, self._read_result(item, result)

    def _call(self, items: Sequence[Item]) -> Sequence[object]:
        try:
            results = self._function(**_arguments(items))
        except Exception as error:
            raise RuntimeError(
                f"verifier {self._path} raised {type(error).__name__}: {error}, {self._find_culprit(items)}"
            ) from error
        if not hasattr(results, "__len__") or len(results) != len(items):
            count = len(results) if hasattr(results, "__len__") else type(results).__name__
            raise RuntimeError(
                f"verifier {self._path} was given {len(items)} rows and returned {count}: it must return a list with "
                "one float or None for each row"
            )
        return results

    def _find_culprit(self, items: Sequence[Item]) -> str:
        """Say on which row the function raises, by calling it on each row alone."""
        for item in items:
            try:
                self._function(**_arguments([item]))
            except Exception as error:  # noqa: BLE001 - the first failure is being raised, this one only names its row
                return f"on candidate {item.candidate_id} alone too ({type(error).__name__})"
        return f"on {len(items)} candidates from {items[0].candidate_id} on, but on none of them alone"

    def _read_result(self, item: Item, result: object) -> Verdict:
        if result is None:
            return Verdict(score=None, reason="no_verdict")
        if not isinstance(result, SupportsFloat):
            raise RuntimeError(
                f"verifier {self._path} returned {result!r} for candidate {item.candidate_id}: it must return a float, "
                "or None for a row that it cannot score"
            )
        score = float(result)
        return Verdict(score) if math.isfinite(score) else Verdict(score=None, reason="not_finite")


def load_function(path: str) -> Function:
    """Import `package.module:function`.

    Raises:
        ValueError: If there is no such function; the message names the field `function`.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise ValueError(f"function must read package.module:function, got {path!r}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"function {path!r}: module {module_name!r} cannot be imported ({error}); install its package, or put its "
            "folder on PYTHONPATH"
        ) from error
    function = vars(module).get(name)
    if function is None:
        raise ValueError(f"function {path!r}: module {module_name!r} has no {name!r}")
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise ValueError(f"function {path!r} must be a plain function, got {type(function).__name__} {name!r}")
    return function


def _arguments(items: Sequence[Item]) -> dict[str, Any]:
    """Lay rows out as TRL does; a source's own columns `prompts` and `completions` would hide the rows, so they go."""
    names = {name for item in items for name in item.columns}
    columns: dict[str, Any] = {name: [item.columns.get(name) for item in items] for name in sorted(names)}
    return columns | {
        "reference_answer": [item.reference_answer for item in items],
        "prompts": [item.messages for item in items],
        "completions": [[{"role": "assistant", "content": item.text}] for item in items],
    }
