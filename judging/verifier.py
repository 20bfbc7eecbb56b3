"""A user's Python function as a judge, called as TRL calls a reward function (GRPOTrainer, trl 1.16).

`f(prompts=, completions=, **columns)` takes lists, one entry a row, in TRL's conversational form: a prompt is a list of
messages, a completion a list of one assistant message. Each column of the prompt's source and `reference_answer` come
as a list too. `completion_ids` are passed where every row of the call has token ids. There is no trainer here, so
`trainer_state` is None, what a function gives to `log_extra` and `log_metric` goes nowhere, and `environments` are not
passed. The function, plain or async, returns one float or None a row.
"""

import asyncio
import importlib
import inspect
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Self

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
        self._runner = asyncio.Runner()  # one for all calls: clients of an async function belong to its loop
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the loop of async functions."""
        self._runner.close()

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
            results = self._run(items)
        except Exception as error:  # whatever the user's code raises; it is raised again with the row named
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

    def _run(self, items: Sequence[Item]) -> Any:
        results = self._function(**_arguments(items))
        return self._runner.run(_wait_for(results)) if inspect.isawaitable(results) else results

    def _find_culprit(self, items: Sequence[Item]) -> str:
        """Say on which row the function raises, by calling it on each row alone."""
        for item in items:
            try:
                self._run([item])
            except Exception as error:  # noqa: BLE001 - the first failure is being raised, this one only names its row
                return f"on candidate {item.candidate_id} alone too ({type(error).__name__})"
        return f"on {len(items)} candidates from {items[0].candidate_id} on, but on none of them alone"

    def _read_result(self, item: Item, result: object) -> Verdict:
        if result is None:
            return Verdict(score=None, reason="no_verdict")
        try:
            score = float(result)  # pyright: ignore[reportArgumentType]  # whatever it is, a string excepted
        except (TypeError, ValueError, OverflowError):
            score = None
        if score is None or isinstance(result, str | bytes):
            raise RuntimeError(
                f"verifier {self._path} returned {result!r:.200} for candidate {item.candidate_id}: it must return a "
                "float, or None for a row that it cannot score"
            )
        return Verdict(score) if math.isfinite(score) else Verdict(score=None, reason="not_finite")


def load_function(path: str) -> Function:
    """Import `package.module:function`.

    Raises:
        ValueError: If there is no such function; the message names the field `function`.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"function {path!r}: module {module_name!r} cannot be imported ({error}); install its package, or put its "
            "folder on PYTHONPATH"
        ) from error
    except Exception as error:  # whatever the module's own code raises
        raise ValueError(f"function {path!r}: module {module_name!r} raised {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)  # packages such as trl.rewards fetch their names when asked for them
    if function is None:
        raise ValueError(f"function {path!r}: module {module_name!r} has no {name!r}")
    if not callable(function) or inspect.isclass(function):
        raise ValueError(f"function {path!r} must be a function, got {type(function).__name__} {name!r}")
    return function


async def _wait_for(results: Awaitable[Any]) -> Any:
    return await results


def _ignore(*_given: object, **_named: object) -> None:
    """Stand in for TRL's log_extra and log_metric."""


def _arguments(items: Sequence[Item]) -> dict[str, Any]:
    """Lay rows out as TRL does; it leaves out a source's columns `prompt`, `completion` and `completion_ids`."""
    names = {name for item in items for name in item.columns} - {"prompt", "completion", "completion_ids"}
    arguments: dict[str, Any] = {name: [item.columns.get(name) for item in items] for name in sorted(names)}
    arguments |= {
        "reference_answer": [item.reference_answer for item in items],
        # Copies: the answers of one prompt share its messages, and a function may change what it is given.
        "prompts": [[dict(message) for message in item.messages] for item in items],
        "completions": [[{"role": "assistant", "content": item.text}] for item in items],
        "trainer_state": None,
        "log_extra": _ignore,
        "log_metric": _ignore,
    }
    ids = [item.token_ids for item in items]
    return arguments if None in ids else arguments | {"completion_ids": ids}
