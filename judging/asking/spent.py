"""What a language-model judge has cost so far: a reply in, the next sum out, and whether a budget is reached."""

from dataclasses import dataclass, replace
from typing import Self

from judging.asking.chat import Reply
from judging.engine_config import BudgetConfig


@dataclass(frozen=True, slots=True)
class Spent:
    """What a model has cost since it was opened.

    Attributes:
        calls: Questions sent.
        retries: Requests beyond one a question.
        tokens_in: Tokens read, as far as the server says.
        tokens_out: Tokens written, as far as the server says.
        cost: In the currency of the price fields; None = no prices.
    """

    calls: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None

    def with_call(self) -> Self:
        """Add a question that is sent."""
        return replace(self, calls=self.calls + 1)

    def with_reply(self, reply: Reply, n_requests: int) -> Self:
        """Add what came of a question, and the requests that it took."""
        return replace(
            self,
            retries=self.retries + n_requests - 1,
            tokens_in=self.tokens_in + (reply.n_tokens_in or 0),
            tokens_out=self.tokens_out + (reply.n_tokens_out or 0),
            cost=None if self.cost is None else self.cost + (reply.cost or 0.0),
        )

    def reaches(self, budget: BudgetConfig) -> bool:
        """Say whether a budget is used up; retries count as calls."""
        pairs = (
            (self.calls + self.retries, budget.max_calls),
            (self.tokens_in + self.tokens_out, budget.max_tokens),
            (self.cost or 0.0, budget.max_cost),
        )
        return any(limit is not None and used >= limit for used, limit in pairs)
