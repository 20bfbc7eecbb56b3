"""What the folder of a run says, as values: its rounds, their datasets and figures, its last good policy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal  # JSON values

from flows.plan import Step
from generation.engine import PolicyFiles

Json = dict[str, Any]


@dataclass(frozen=True)
class DatasetUse:
    """What a round had from one dataset."""

    stage: str
    key: str
    cached: bool
    rows_in: int
    rows_out: int
    drops: dict[str, int]  # reason -> rows
    seconds: float  # 0.0 where it came from the store


@dataclass(frozen=True)
class Figures:
    """What a round's evaluation says; `gold` is its judge, `annotator` the judge that labelled the pairs."""

    gold_before: float
    gold_after: float
    win_rate_old: float
    win_rate_start: float
    annotator_before: float
    annotator_after: float
    kl: float | None  # None = it could not be estimated
    decision: str
    reasons: list[str]


@dataclass(frozen=True)
class Round:
    """One try of one round."""

    number: int
    retry: int  # 0 = the first try
    policy: PolicyFiles
    stages: dict[str, list[DatasetUse]]
    figures: Figures | None  # None = the evaluation is no longer in the store
    seconds: float

    @property
    def title(self) -> str:
        """The round as people write it: `2`, or `2 retry 1`."""
        return f"{self.number} retry {self.retry}" if self.retry else str(self.number)


@dataclass(frozen=True)
class GoodPolicy:
    """The last good policy of a run."""

    run: str
    round: int  # 0 = the policy that the run started from
    policy: PolicyFiles
    decided: str | None  # UTC; None = no round has ended yet

    @property
    def path(self) -> str:
        """Folder of the adapter or of the whole model; for a start from the Hub its name there."""
        return self.policy.adapter or self.policy.model


@dataclass(frozen=True)
class RunRecord:
    """One run as its folder tells it."""

    name: str
    recipe: str
    seed: int
    cycle: int  # 1-based
    n_rounds: int  # most rounds; fewer than the recipe's where new prompts suffice for no more
    created: str  # UTC
    folder: Path
    prompts: Step
    start: PolicyFiles
    fields: Json  # of the recipe, as it was resolved
    uses: list[tuple[str, str]]  # stage and key of every dataset it has looked up
    rounds: list[Round]
    good: GoodPolicy
    summary: Json | None  # None = the run has not ended

    @property
    def rounds_done(self) -> int:
        """How many rounds have ended; tries of one round count once."""
        return len({done.number for done in self.rounds})

    @property
    def stopped(self) -> str | None:
        """Why the run ended before its last round; None where it did not."""
        stopped = (self.summary or {}).get("stopped")
        return stopped["reason"] if stopped else None

    @property
    def gold(self) -> tuple[float, float] | None:
        """The gold score of the start and of the last good policy; None until a round has been evaluated."""
        known = [(done.number, done.policy.key, done.figures) for done in self.rounds if done.figures]
        if not known:
            return None
        after = [figures.gold_after for _, key, figures in known if key == self.good.policy.key]
        before = known[0][2].gold_before
        return before, after[-1] if after else before


@dataclass(frozen=True)
class RunState:
    """How a run stands."""

    state: Literal["running", "unfinished", "finished", "stopped"]
    """running: a live process builds one of its datasets. stopped: it ended before its last round."""
    detail: str | None = None
    """The stage that is being built, or why the run stopped."""
