"""The reward that a preference-trained policy stands for, as a judge: beta * (log pi - log ref) of the whole answer.

DICE (arXiv 2406.09760) labels the next round's pairs with it. Left out of the paper: its length term (length control
belongs to pairing here) and its replay of the offline pairs.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Protocol, Self

from judging.judge import Item, Tag, Verdict
from judging.model_config import CheckpointConfig, ImplicitRewardConfig

_WINDOW = 1024  # items scored together; batches of like length are made within


@dataclass(frozen=True, slots=True)
class AnswerLogprob:
    """What a checkpoint makes of one answer.

    Attributes:
        logprob: Nats, summed over the answer's tokens, the stop token included; None = there is none.
        reason: Snake-case literal that says why; None with a log-prob.
        n_tokens: Tokens of prompt and answer; None where they are unknown.
    """

    logprob: float | None
    reason: str | None = None
    n_tokens: int | None = None


class Checkpoint(Protocol):
    """A language model that is open."""

    @property
    def tokenizer_identity(self) -> str:
        """Identity of its tokenizer and chat template, as in `Item.tokenizer`."""
        ...

    def sum_logprobs(self, items: Sequence[Item], batch_size: int) -> list[AnswerLogprob]:
        """Sum the log-probs of each item's answer, in the items' order.

        The answer's own token ids are taken where they are of this tokenizer; else its text is tokenised.
        """
        ...


class SumLogprobs(Protocol):
    """Opens a checkpoint for log-probs."""

    def __call__(self, checkpoint: CheckpointConfig, dtype: str) -> AbstractContextManager[Checkpoint]:
        """Load a checkpoint, whose `model` is filled in, for as long as the block lasts."""
        ...


class ImplicitReward:
    """Scores by two checkpoints while it is open; both are in memory.

    Raises:
        ValueError: Nothing that opens checkpoints is given; on opening, if the two have not one tokenizer and chat
            template, so that their log-probs would be of different tokens.
    """

    def __init__(self, config: ImplicitRewardConfig, sum_logprobs: SumLogprobs | None) -> None:
        """Hold the recipe's part, its roles replaced by models, and what opens them."""
        if sum_logprobs is None:
            raise ValueError("judge implicit_reward needs Tools.sum_logprobs, which opens its two checkpoints")
        self._config = config
        self._open = sum_logprobs

    def __enter__(self) -> Self:
        """Load both models."""
        config = self._config
        with ExitStack() as stack:
            self._policy = stack.enter_context(self._open(config.policy, config.dtype))
            self._reference = stack.enter_context(self._open(config.reference, config.dtype))
            if self._policy.tokenizer_identity != self._reference.tokenizer_identity:
                raise ValueError(
                    f"policy {config.policy.model} and reference {config.reference.model} have different tokenizers or "
                    "chat templates, so their log-probs are of different tokens: name the reference that the policy "
                    "was trained against"
                )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the models' memory."""
        del self._policy, self._reference
        self._stack.close()

    def score(self, tagged: Iterable[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Verdict]]:
        """Yield the reward of each item, window by window; the aspects are `logp_policy` and `logp_reference`.

        An item without log-probs is unscored for the reason that the checkpoint gives, or `not_finite`.
        """
        source = iter(tagged)
        while window := list(islice(source, _WINDOW)):
            items = [item for _, item in window]
            of_policy = self._policy.sum_logprobs(items, self._config.batch_size)
            of_reference = self._reference.sum_logprobs(items, self._config.batch_size)
            for (tag, _), policy, reference in zip(window, of_policy, of_reference, strict=True):
                yield tag, self._reward(policy, reference)

    def _reward(self, policy: AnswerLogprob, reference: AnswerLogprob) -> Verdict:
        if policy.logprob is None or reference.logprob is None:
            return Verdict(score=None, reason=policy.reason or reference.reason, n_tokens_in=policy.n_tokens)
        reward = self._config.beta * (policy.logprob - reference.logprob)  # arXiv 2305.18290 eq. 5, less beta*log Z
        if not math.isfinite(reward):
            return Verdict(score=None, reason="not_finite", n_tokens_in=policy.n_tokens)
        aspects = {"logp_policy": policy.logprob, "logp_reference": reference.logprob}
        return Verdict(score=reward, aspects=aspects, n_tokens_in=policy.n_tokens)
