"""From the rows of a batch to a flat one in which each prompt stands once, followed by its different answers.

The last token of an answer is no input: nothing that is scored sees it. What is scored comes back to the rows through
`sources` and `cells`, so that equal answers of several rows are computed once too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any  # fields of a dataclass

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt and its answers in the flat batch: token counts of the prompt and of each answer that has inputs."""

    prompt: int
    answers: tuple[int, ...]


@dataclass(frozen=True)
class Gathered:
    """The flat batch as FlashAttention reads uneven lengths, a segment being a prompt or an answer.

    Attributes:
        keys: Flat positions of the keys of each segment, its prompt's first.
        query_starts: Where each segment's queries start, and the end of the last, int32.
        key_starts: The same of its keys.
        longest_query: Most queries of a segment.
        longest_key: Most keys of a segment.
    """

    keys: torch.Tensor
    query_starts: torch.Tensor
    key_starts: torch.Tensor
    longest_query: int
    longest_key: int


@dataclass(frozen=True)
class PrefixPlan:
    """A flat batch of T tokens, of which N positions are scored, for rows with M answer tokens in all.

    Attributes:
        groups: The prompts with their answers, in the order of the flat batch.
        shape: Rows and width - 1 of the padded batch: TRL's shape of what is said of each next token.
        input_ids: Shape `(1, T)`.
        position_ids: Each token's position in its row, shape `(1, T)`; answers go on at the length of their prompt.
        scored: Flat positions that predict an answer's token, shape `(N,)`.
        labels: The tokens they predict, shape `(N,)`.
        sources: For each answer token of each row, which of the N, shape `(M,)`.
        cells: Where it goes in `shape`, flattened, shape `(M,)`.
    """

    groups: tuple[Group, ...]
    shape: tuple[int, int]
    input_ids: torch.Tensor
    position_ids: torch.Tensor
    scored: torch.Tensor
    labels: torch.Tensor
    sources: torch.Tensor
    cells: torch.Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "PrefixPlan":
        """Move the tensors, as accelerate does with what a collator gives."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {k: v.to(device, non_blocking=non_blocking) for k, v in values.items() if isinstance(v, torch.Tensor)}
        return replace(self, **moved)

    @cached_property
    def gathered(self) -> Gathered:
        """Give the indices of the call that attends over all segments at once, on the plan's device."""
        keys, queries, start = [], [], 0
        for group in self.groups:
            prompt = np.arange(start, start + group.prompt)
            keys.append(prompt)
            start += group.prompt
            for length in group.answers:
                keys.append(np.concatenate([prompt, np.arange(start, start + length)]))
                start += length
            queries += [group.prompt, *group.answers]
        n_keys = [len(one) for one in keys]
        device = self.input_ids.device

        def starts(lengths: list[int]) -> torch.Tensor:
            return torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32, device=device)

        positions = torch.from_numpy(np.concatenate(keys)).to(device)
        return Gathered(positions, starts(queries), starts(n_keys), max(queries), max(n_keys))

    def to_rows(self, values: torch.Tensor) -> torch.Tensor:
        """Put what was computed of each scored position, shape `(N,)`, where TRL looks for it; zeros elsewhere."""
        flat = values.new_zeros(self.shape[0] * self.shape[1])
        return flat.index_put((self.cells,), values.index_select(0, self.sources)).view(self.shape)


def plan_batch(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> PrefixPlan:
    """Lay rows of a prompt and an answer out so that no prompt, and no answer to it, is computed twice.

    Args:
        prompts: Token ids of each row's prompt.
        answers: Token ids of each row's answer.

    Raises:
        ValueError: A prompt or an answer is empty.
    """
    rows_of: dict[bytes, dict[bytes, list[int]]] = {}
    width = 0
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        if not len(prompt) or not len(answer):
            raise ValueError(
                f"row {row} has {len(prompt)} prompt and {len(answer)} answer tokens; each needs at least 1"
            )
        key = np.asarray(prompt, dtype=np.int64).tobytes()
        rows_of.setdefault(key, {}).setdefault(np.asarray(answer, dtype=np.int64).tobytes(), []).append(row)
        width = max(width, len(prompt) + len(answer))
    layout = _Layout(width - 1)
    for prompt, rows_of_answer in rows_of.items():
        layout.add(np.frombuffer(prompt, np.int64), rows_of_answer)
    return layout.plan(len(prompts))


class _Layout:
    """The flat batch as it grows."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._n_tokens = 0
        self._n_scored = 0
        self._groups: list[Group] = []
        self._pieces: dict[str, list[np.ndarray]] = {
            name: [] for name in ("input_ids", "position_ids", "scored", "labels", "sources", "cells")
        }

    def add(self, prompt: np.ndarray, rows_of_answer: dict[bytes, list[int]]) -> None:
        """Put a prompt and its answers, each with the rows it stands in, at the end."""
        last = self._n_tokens + len(prompt) - 1
        self._inputs(prompt, 0)
        lengths = []
        for key, rows in rows_of_answer.items():
            answer = np.frombuffer(key, np.int64)
            scored = np.arange(self._n_tokens - 1, self._n_tokens + len(answer) - 1)
            scored[0] = last  # the prompt's last token predicts the first one of every answer
            self._inputs(answer[:-1], len(prompt))
            self._pieces["scored"].append(scored)
            self._pieces["labels"].append(answer)
            steps = np.arange(len(answer))
            for row in rows:
                self._pieces["sources"].append(steps + self._n_scored)
                self._pieces["cells"].append(steps + (row * self._width + len(prompt) - 1))
            self._n_scored += len(answer)
            lengths.append(len(answer) - 1)
        self._groups.append(Group(len(prompt), tuple(n for n in lengths if n)))

    def plan(self, rows: int) -> PrefixPlan:
        flat = {name: torch.from_numpy(np.concatenate(pieces)) for name, pieces in self._pieces.items()}
        flat |= {name: flat[name][None] for name in ("input_ids", "position_ids")}
        return PrefixPlan(groups=tuple(self._groups), shape=(rows, self._width), **flat)

    def _inputs(self, ids: np.ndarray, first: int) -> None:
        self._pieces["input_ids"].append(ids)
        self._pieces["position_ids"].append(np.arange(first, first + len(ids)))
        self._n_tokens += len(ids)
